"""docker/kubernetes/ is what Kubeflow Trainer's published API takes, and says what docker-compose.yml says."""

import copy
import http.server
import subprocess
import sys
import threading
from typing import Any

import pytest
import yaml
from documentation import ROOT
from kubeflow_trainer_api import models

from trainer.settings.resolve import resolve

FOLDER = ROOT / "docker" / "kubernetes"
KINDS = {
    "PersistentVolumeClaim": models.IoK8sApiCoreV1PersistentVolumeClaim,
    "Service": models.IoK8sApiCoreV1Service,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
    "TrainJob": models.TrainerV1alpha1TrainJob,
}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def objects(file: str) -> dict[str, dict[str, Any]]:
    """The objects of a file by their kind."""
    return {found["kind"]: found for found in yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8"))}


TRAIN, TEACHER = objects("train.yaml"), objects("teacher.yaml")
NODE = TRAIN["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"][0]
POD = NODE["template"]["spec"]["template"]["spec"]
SET = TEACHER["StatefulSet"]["spec"]
VLLM_POD = SET["template"]["spec"]
(VLLM,) = VLLM_POD["containers"]


def unknown(given: Any, taken: Any, where: str = "") -> list[str]:
    """Fields that the API did not take, or took as something else."""
    if isinstance(given, dict) and isinstance(taken, dict):
        return [fault for key, value in given.items() for fault in unknown(value, taken.get(key), f"{where}.{key}")]
    if isinstance(given, list) and isinstance(taken, list) and len(given) == len(taken):
        return [
            fault
            for place, pair in enumerate(zip(given, taken, strict=True))
            for fault in unknown(*pair, f"{where}[{place}]")
        ]
    return [] if given == taken else [where]


def refused(kind: Any, given: dict[str, Any]) -> list[str]:
    """Fields of an object that are not in its kind; one that lacks a field or has another type raises."""
    return unknown(given, kind.from_dict(copy.deepcopy(given)).to_dict())


@pytest.mark.parametrize("given", [*TRAIN.values(), TEACHER["Service"]], ids=lambda given: given["kind"])
def test_each_object_has_only_fields_of_its_published_kind(given):
    assert refused(KINDS[given["kind"]], given) == []


def test_the_teachers_pods_and_volumes_have_only_published_fields():
    assert refused(models.IoK8sApiCoreV1PodTemplateSpec, SET["template"]) == []
    (volume,) = SET["volumeClaimTemplates"]
    assert refused(models.IoK8sApiCoreV1PersistentVolumeClaim, volume) == []
    assert TEACHER["StatefulSet"]["apiVersion"] == "apps/v1"
    assert {*SET} == {"serviceName", "replicas", "podManagementPolicy", "selector", "template", "volumeClaimTemplates"}


def test_a_field_that_the_api_lacks_is_found():
    old = copy.deepcopy(TRAIN["TrainingRuntime"])
    old["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = "auto"  # of Trainer 2.1
    assert refused(KINDS["TrainingRuntime"], old) == [".spec.mlPolicy.torch.numProcPerNode"]


def test_the_job_runs_in_the_runtime_that_stands_beside_it():
    runtime, job = TRAIN["TrainingRuntime"], TRAIN["TrainJob"]["spec"]
    reference = job["runtimeRef"]
    assert (reference["kind"], reference["name"]) == (runtime["kind"], runtime["metadata"]["name"])
    assert runtime["apiVersion"] == TRAIN["TrainJob"]["apiVersion"] == f"{reference['apiGroup']}/v1alpha1"
    # By these names Trainer finds where the nodes, torchrun's settings and the arguments go.
    assert NODE["name"] == "node" and [container["name"] for container in POD["containers"]] == ["node"]
    assert NODE["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    resources = job["trainer"]["resourcesPerNode"]
    assert resources["limits"] == resources["requests"], "what a pod reserves it may use"


def test_torchrun_starts_the_trainer_with_the_jobs_arguments_on_the_shared_volume():
    (node,) = POD["containers"]
    assert node["command"][0] == "torchrun" and node["command"][-3:] == ["-m", "trainer", "train"]
    settings = resolve("train", TRAIN["TrainJob"]["spec"]["trainer"]["args"], {}).settings
    paths = [settings.train_data_path, settings.output_dir]
    mounted = {mount["name"]: mount["mountPath"] for mount in node["volumeMounts"]}
    assert all(path.startswith(f"{mounted['shared']}/") for path in paths)
    assert environment(node)["HF_HOME"].startswith(f"{mounted['shared']}/")
    assert {*mounted} == {volume["name"] for volume in POD["volumes"]}
    assert POD["volumes"][0]["persistentVolumeClaim"]["claimName"] == TRAIN["PersistentVolumeClaim"]["metadata"]["name"]
    assert TRAIN["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_pod_that_is_told_to_end_has_as_long_to_save_as_a_container_of_compose():
    assert COMPOSE["trainer"]["stop_grace_period"] == "${TRAINER_STOP_GRACE_PERIOD:-10m}"
    assert POD["terminationGracePeriodSeconds"] == 600
    (given,) = [word for word in POD["containers"][0]["command"] if word.startswith("--shutdown-timeout=")]
    assert 500 <= int(given.partition("=")[2]) < 600


@pytest.mark.parametrize("pod", [POD, VLLM_POD], ids=["trainer", "teacher"])
def test_no_process_is_root_or_can_become_it(pod):
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
    assert not pod["automountServiceAccountToken"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@pytest.mark.parametrize(
    ("container", "keys"),
    [
        (POD["containers"][0], {"SDFT_VLLM_SERVER_API_KEY": "VLLM_API_KEY", "HF_TOKEN": "HF_TOKEN"}),
        (VLLM, {"VLLM_API_KEY": "VLLM_API_KEY", "HF_TOKEN": "HF_TOKEN"}),
    ],
    ids=["trainer", "teacher"],
)
def test_keys_and_tokens_come_from_one_secret_that_may_be_absent(container, keys):
    found = {name: value for name, value in environment(container).items() if not isinstance(value, str)}
    assert found == {
        name: {"secretKeyRef": {"name": "self-distillation", "key": key, "optional": True}}
        for name, key in keys.items()
    }


def test_the_teacher_is_the_one_of_compose_under_its_names():
    assert VLLM["image"] in COMPOSE["teacher"]["image"]
    model, _, config = VLLM["args"]
    assert all(word in COMPOSE["teacher"]["command"] for word in (model, "glm-4.7-flash"))
    assert config == "/etc/teacher/glm-4.7-flash.yaml" and (ROOT / "teacher" / "glm-4.7-flash.yaml").is_file()
    assert SET["serviceName"] == TEACHER["Service"]["metadata"]["name"] == "teacher"
    labels = SET["template"]["metadata"]["labels"]
    assert labels == SET["selector"]["matchLabels"] == TEACHER["Service"]["spec"]["selector"]
    mounted = {mount["name"] for mount in VLLM["volumeMounts"]}
    claimed = {claim["metadata"]["name"] for claim in SET["volumeClaimTemplates"]}
    assert mounted == {volume["name"] for volume in VLLM_POD["volumes"]} | claimed


def test_the_teacher_is_asked_for_its_health_and_has_three_hours_to_load():
    probes = {kind: VLLM[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["httpGet"]["path"] for probe in probes.values()} == {"/health"}
    named = {port["name"]: port["containerPort"] for port in VLLM["ports"]}
    assert named[probes["startup"]["httpGet"]["port"]] == TEACHER["Service"]["spec"]["ports"][0]["port"] == 8000
    assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] == 3 * 3600


def test_the_trainer_waits_for_each_teacher_that_it_is_told_of():
    (wait,) = POD["initContainers"]
    assert wait["command"][:2] == ["python", "-c"] and environment(wait) == environment(POD["containers"][0])
    asked: list[str] = []

    class Teacher(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    def waits(urls: str) -> None:
        subprocess.run(
            [sys.executable, *wait["command"][1:]], env={"SDFT_VLLM_SERVER_BASE_URL": urls}, check=True, timeout=60
        )

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Teacher) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        waits(f"{url},{url}")
        server.shutdown()
    assert asked == ["/health", "/health"]
    waits("")
