"""Field models of the custom resources that the manifests use: KEDA's, and the Prometheus operator's.

The client tools know no schema of them. What divisi uses is modelled; any other field counts as misspelt until it is
added here from the operators' documentation.
"""

# ruff: noqa: N815 (the fields are Kubernetes')
from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Duration = Annotated[str, Field(pattern=r"^(\d+(ms|s|m|h|d))+$")]


class Strict(BaseModel):
    """No field but those that are named here, and none converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


# --- KEDA ---


class ScaleTarget(Strict):
    apiVersion: str = "apps/v1"
    kind: str = "Deployment"
    name: str
    envSourceContainerName: str | None = None


class AuthenticationRef(Strict):
    name: str
    kind: Literal["TriggerAuthentication", "ClusterTriggerAuthentication"] = "TriggerAuthentication"


class RedisStreamsMetadata(Strict):
    """Of the trigger `redis-streams`; numbers are written as text. One of three ways to count, the length of the stream
    among them; the others take a consumer group."""

    address: str
    stream: str
    streamLength: str = Field(pattern=r"^[1-9]\d*$")
    databaseIndex: str = Field("0", pattern=r"^\d+$")
    enableTLS: Literal["true", "false"] = "false"


class Trigger(Strict):
    type: Literal["redis-streams"]
    name: str
    metadata: RedisStreamsMetadata
    authenticationRef: AuthenticationRef | None = None
    useCachedMetrics: bool = False


class ScalingPolicy(Strict):
    type: Literal["Pods", "Percent"]
    value: int = Field(gt=0)
    periodSeconds: int = Field(gt=0, le=1800)


class ScalingRules(Strict):
    stabilizationWindowSeconds: int = Field(0, ge=0, le=3600)
    selectPolicy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: list[ScalingPolicy] = []


class Behavior(Strict):
    scaleUp: ScalingRules | None = None
    scaleDown: ScalingRules | None = None


class HorizontalPodAutoscalerConfig(Strict):
    name: str | None = None
    behavior: Behavior | None = None


class ScalingModifiers(Strict):
    formula: str
    target: str = Field(pattern=r"^\d+(\.\d+)?$")
    activationTarget: str = Field("0", pattern=r"^\d+(\.\d+)?$")
    metricType: Literal["AverageValue", "Value"] = "AverageValue"


class Advanced(Strict):
    restoreToOriginalReplicaCount: bool = False
    horizontalPodAutoscalerConfig: HorizontalPodAutoscalerConfig | None = None
    scalingModifiers: ScalingModifiers | None = None


class ScaledObjectSpec(Strict):
    scaleTargetRef: ScaleTarget
    pollingInterval: int = Field(30, gt=0)
    cooldownPeriod: int = Field(300, ge=0)
    initialCooldownPeriod: int = Field(0, ge=0)
    idleReplicaCount: int | None = None
    minReplicaCount: int = Field(0, ge=0)
    maxReplicaCount: int = Field(100, gt=0)
    advanced: Advanced | None = None
    triggers: list[Trigger] = Field(min_length=1)

    @model_validator(mode="after")
    def _formula_names_the_triggers(self) -> ScaledObjectSpec:
        modifiers = self.advanced and self.advanced.scalingModifiers
        if modifiers:
            named = {word for word in modifiers.formula.replace("+", " ").split() if not word.isdigit()}
            if named != {trigger.name for trigger in self.triggers}:
                raise ValueError(f"the formula {modifiers.formula!r} must name every trigger and nothing else")
        return self


class ScaledObject(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class SecretTarget(Strict):
    parameter: Literal["username", "password"]
    name: str
    key: str


class TriggerAuthenticationSpec(Strict):
    secretTargetRef: list[SecretTarget] = Field(min_length=1)


class TriggerAuthentication(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["TriggerAuthentication"]
    metadata: Metadata
    spec: TriggerAuthenticationSpec


# --- Prometheus operator ---


class LabelSelector(Strict):
    matchLabels: dict[str, str] = Field(min_length=1)


class SecretKey(Strict):
    name: str
    key: str


class Authorization(Strict):
    type: str = "Bearer"
    credentials: SecretKey


class Endpoint(Strict):
    port: str
    path: str = "/metrics"
    interval: Duration | None = None
    scrapeTimeout: Duration | None = None
    honorLabels: bool = False
    authorization: Authorization | None = None


class ServiceMonitorSpec(Strict):
    selector: LabelSelector
    endpoints: list[Endpoint] = Field(min_length=1)
    jobLabel: str | None = None


class PodMonitorSpec(Strict):
    selector: LabelSelector
    podMetricsEndpoints: list[Endpoint] = Field(min_length=1)
    jobLabel: str | None = None


class ServiceMonitor(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: ServiceMonitorSpec


class PodMonitor(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec


class AlertingRule(Strict):
    """`for` is a word of Python, hence the alias."""

    alert: str
    expr: str
    for_: Duration | None = Field(None, alias="for")
    keep_firing_for: Duration | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RecordingRule(Strict):
    record: str
    expr: str
    labels: dict[str, str] = {}


class RuleGroup(Strict):
    name: str
    interval: Duration | None = None
    rules: list[AlertingRule | RecordingRule] = Field(min_length=1)


class PrometheusRuleSpec(Strict):
    groups: list[RuleGroup] = Field(min_length=1)


class PrometheusRule(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: Metadata
    spec: PrometheusRuleSpec


CUSTOM_RESOURCES: dict[tuple[Any, Any], type[BaseModel]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("keda.sh/v1alpha1", "TriggerAuthentication"): TriggerAuthentication,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitor,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
}
