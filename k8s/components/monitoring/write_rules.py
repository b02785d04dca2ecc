"""Writes rules.yaml out of service/monitoring/alerts.yml, whose groups a PrometheusRule holds as they are.

python k8s/components/monitoring/write_rules.py
"""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ALERTS = HERE.parents[2] / "service/monitoring/alerts.yml"
HEAD = "# Written by write_rules.py out of service/monitoring/alerts.yml: change it there.\n"


def main() -> None:
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "divisi"},
        "spec": yaml.safe_load(ALERTS.read_text()),
    }
    (HERE / "rules.yaml").write_text(HEAD + yaml.safe_dump(rule, sort_keys=False, width=120))


if __name__ == "__main__":
    main()
