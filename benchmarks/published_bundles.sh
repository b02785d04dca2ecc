#!/bin/sh
# From checkpoints of the published systems to bundles whose cards carry their figures.
#     benchmarks/published_bundles.sh DATA RUNS OUT [MODEL_ID …]
# DATA holds nino_dios/, RUNS a folder for each run. OUT receives drafts, figures, boxes and two stores: `first`, which is
# scored and timed, and `store`, the same weights with figures in their cards. What OUT holds already is kept. TIMED may
# name a command that timing is run by, such as `flock LOCK`.
set -eu
data=$1
runs=$2
out=$3
shift 3
bin=${BIN:-.venv/bin}
here=$(dirname "$0")
notes=$here/../service/workshop/divisi_workshop/learning/cards/published.md

"$bin/python" -m divisi_workshop.published.checkpoints ours --runs "$runs" --out "$out/drafts"
if [ $# = 0 ]; then
    for draft in "$out"/drafts/*.yaml; do set -- "$@" "$(basename "$draft" .yaml)"; done
fi

publish() {
    model=$1
    store=$2
    shift 2
    family=umss
    case $model in unet*) family=unet ;; esac
    [ -d "$store/$model" ] || "$bin/divisi" export "divisi_workshop.networks.$family:build" "$out/drafts/$model.pt" \
        --card "$out/drafts/$model.yaml" --out "$store" "$@"
}

for model; do
    publish "$model" "$out/first"
    dataset=nino_dios
    case $model in *-duo) dataset=nino_dios_pairs ;; esac
    [ -f "$out/figures/$model/evaluation.json" ] || DIVISI_MODEL_STORE=$out/first "$bin/divisi" evaluate \
        --models "$model" --dataset "$dataset" --data "$data" --out "$out/figures/$model"
done
${TIMED:-} "$bin/python" "$here/published_speed.py" --store "$out/first" --models "$@" --out "$out/speeds.json"
"$bin/python" -m divisi_workshop.published.checkpoints ours --runs "$runs" --out "$out/drafts" --speeds "$out/speeds.json"
for model; do
    publish "$model" "$out/store" --measured "$out/figures/$model/evaluation.json" --notes "$notes"
done
