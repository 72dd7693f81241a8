"""What the compose files promise, read from the configuration that Compose itself renders."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GPU = ("docker-compose.yml",)
CPU = ("docker-compose.yml", "docker/compose.cpu.yml")
ALONE = "docker/compose.alone.yml"
FILES = pytest.mark.parametrize("files", [GPU, CPU], ids=["gpu", "cpu"])


def reserves_gpu(service: dict[str, Any]) -> bool:
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    return any("gpu" in device["capabilities"] for device in devices)


@FILES
def test_compose_accepts_the_files_without_a_warning(plain_compose, files):
    answer = plain_compose(files)("config", "--quiet")
    assert (answer.returncode, answer.stderr) == (0, "")


@FILES
def test_the_teacher_is_published_on_the_loopback_interface_only(rendered, files):
    ports = [port for service in rendered(files)["services"].values() for port in service.get("ports", [])]
    assert [(port["host_ip"], port["target"]) for port in ports] == [("127.0.0.1", 8000)]


@FILES
def test_no_service_can_gain_privileges_or_fill_the_disk_with_logs_or_restart_by_itself(rendered, files):
    for name, service in rendered(files)["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["logging"]["driver"] == "json-file", name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert service["restart"] == "no", name
        assert service["init"] is True, name


@FILES
def test_the_trainer_waits_until_the_teacher_is_healthy(rendered, files):
    services = rendered(files)["services"]
    assert services["trainer"]["depends_on"]["teacher"]["condition"] == "service_healthy"
    assert "/health" in services["teacher"]["healthcheck"]["test"][-1]


@FILES
def test_keys_reach_the_containers_and_stand_in_no_command(rendered, files):
    services = rendered(files, "HF_TOKEN=hf_secret", "VLLM_API_KEY=key_secret")["services"]
    assert services["teacher"]["environment"]["HF_TOKEN"] == "hf_secret"
    assert services["teacher"]["environment"]["VLLM_API_KEY"] == "key_secret"
    assert services["trainer"]["environment"]["SDFT_VLLM_SERVER_API_KEY"] == "key_secret"
    assert services["trainer"]["environment"]["SDFT_API_KEY"] == "key_secret"
    for name, service in services.items():
        seen_by_all = [*service["command"], *service.get("build", {}).get("args", {}).values()]
        assert not [word for word in seen_by_all if "secret" in str(word)], name


@FILES
def test_nobody_is_told_what_is_served(rendered, files):
    environment = rendered(files)["services"]["teacher"]["environment"]
    assert {environment[key] for key in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")} == {"1"}


def test_the_default_teacher_is_glm_on_a_pinned_vllm_with_time_to_download(rendered):
    teacher = rendered(GPU)["services"]["teacher"]
    assert teacher["image"] == "vllm/vllm-openai:v0.32.0"
    assert teacher["command"] == ["zai-org/GLM-4.7-Flash", "--config", "/etc/teacher/glm-4.7-flash.yaml"]
    assert teacher["healthcheck"]["start_period"] == "3h0m0s"
    assert int(teacher["shm_size"]) >= 8 * 2**30


def test_settings_of_the_env_file_become_flags_that_follow_the_configuration_file(rendered):
    teacher = rendered(
        GPU,
        "TEACHER_MODEL=Qwen/Qwen3-8B",
        "TEACHER_CONFIG=qwen3",
        "TEACHER_TENSOR_PARALLEL_SIZE=2",
        "TEACHER_GPU_MEMORY_UTILIZATION=0.4",
        "TEACHER_MAX_MODEL_LEN=4096",
        "TEACHER_MAX_LOGPROBS=64",
        "TEACHER_EXTRA_ARGS=--seed 1 --chat-template 'a b.jinja'",
        "TEACHER_PORT=9000",
        "TEACHER_GPUS=0,1",
    )["services"]["teacher"]
    assert " ".join(teacher["command"][:3]) == "Qwen/Qwen3-8B --config /etc/teacher/qwen3.yaml"
    assert teacher["command"][3:] == [
        *("--tensor-parallel-size", "2"),
        *("--gpu-memory-utilization", "0.4"),
        *("--max-model-len", "4096"),
        *("--max-logprobs", "64"),
        *("--seed", "1"),
        *("--chat-template", "a b.jinja"),
    ]
    assert teacher["ports"][0]["published"] == "9000"
    assert teacher["environment"]["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_what_is_served_before_and_after_training_has_thinking_off_as_in_training(rendered):
    services = rendered(GPU, "COMPOSE_PROFILES=chat")["services"]
    for name in ("student", "student-before"):
        assert services[name]["command"][-2:] == ["--default-chat-template-kwargs.enable_thinking", "false"]


def test_the_gpu_stack_reserves_a_gpu_for_both_services_and_the_cpu_stack_for_none(rendered):
    assert {name: reserves_gpu(service) for name, service in rendered(GPU)["services"].items()} == {
        "teacher": True,
        "trainer": True,
    }
    assert not any(reserves_gpu(service) for service in rendered(CPU)["services"].values())


def test_the_trainer_runs_as_the_given_user_and_has_time_to_save(rendered):
    trainer = rendered(GPU, "TRAINER_UID=1234", "TRAINER_GID=5678")["services"]["trainer"]
    assert trainer["user"] == "1234:5678"
    assert trainer["stop_grace_period"] == "10m0s"
    assert trainer["command"] == ["train"]
    targets = {volume["target"] for volume in trainer["volumes"]}
    assert targets == {"/app/data", "/app/outputs", "/cache", "/cache/huggingface"}


def test_a_flag_in_the_env_file_reaches_the_trainer(rendered, tmp_path):
    settings = tmp_path / "trainer.env"
    settings.write_text("SDFT_LEARNING_RATE=1e-4\n")
    trainer = rendered(GPU, f"TRAINER_ENV_FILE={settings}")["services"]["trainer"]
    assert trainer["environment"]["SDFT_LEARNING_RATE"] == "1e-4"


def test_a_missing_outputs_folder_is_an_error_instead_of_one_that_belongs_to_root(rendered):
    mounts = {mount["target"]: mount for mount in rendered(GPU)["services"]["trainer"]["volumes"]}
    for target in ("/app/data", "/app/outputs"):
        assert not mounts[target].get("bind", {}).get("create_host_path"), target


def test_every_variable_of_the_compose_files_is_explained_in_the_example_and_the_other_way_round():
    files = "".join((ROOT / name).read_text() for name in CPU)
    used = set(re.findall(r"\$\{([A-Z_]+)", files)) | set(re.findall(r"^ +([A-Z_]+):$", files, re.MULTILINE))
    example = (ROOT / ".env.example").read_text()
    explained = set(re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE))
    flags = {name for name in explained if name.startswith("SDFT_")}
    assert explained - flags == used - {"GIT_COMMIT"} | {"COMPOSE_FILE"}


@FILES
def test_the_example_with_every_line_taken_over_is_a_valid_configuration(rendered, files):
    example = (ROOT / ".env.example").read_text()
    services = rendered(files, *re.findall(r"^#([A-Z_]+=.*)$", example, re.MULTILINE))["services"]
    assert services["teacher"]["environment"]["HF_HUB_OFFLINE"] == "1"


def places(service: dict[str, Any]) -> dict[str, str]:
    """What of this machine a service sees, by where it sees it."""
    return {mount["target"]: mount.get("source", "") for mount in service["volumes"]}


@pytest.mark.parametrize(
    ("line", "folder"), [("", "~/.cache/huggingface"), ("HF_HOME=/data/hf", "/data/hf"), ("HF_HOME=~/hf", "~/hf")]
)
def test_all_share_the_models_that_are_on_this_machine_and_none_makes_the_folder_as_root(rendered, line, folder):
    services = rendered(GPU, line, "COMPOSE_PROFILES=chat")["services"]
    for name, target in (("teacher", "/root/.cache"), ("student", "/root/.cache"), ("trainer", "/cache")):
        assert places(services[name])[f"{target}/huggingface"] == str(Path(folder).expanduser()), name
        (mount,) = [m for m in services[name]["volumes"] if m["target"] == f"{target}/huggingface"]
        assert not mount.get("bind", {}).get("create_host_path"), name
    assert services["trainer"]["environment"]["HF_HOME"] == "/cache/huggingface"


def test_the_teacher_can_have_a_folder_of_its_own(rendered):
    services = rendered(GPU, "TEACHER_CACHE=/data/models")["services"]
    assert places(services["teacher"])["/root/.cache/huggingface"] == "/data/models"
    assert places(services["trainer"])["/cache/huggingface"] == str(Path("~/.cache/huggingface").expanduser())


def test_what_the_teacher_downloads_the_trainers_group_can_change(rendered):
    teacher = rendered(GPU, "TRAINER_GID=5678")["services"]["teacher"]
    assert teacher["user"] == "0:5678" and "umask 002" in teacher["entrypoint"][2]


def test_the_stack_without_a_gpu_needs_no_folder_of_models(rendered):
    services = rendered(CPU, "COMPOSE_PROFILES=chat")["services"]
    assert not [t for s in services.values() for t in places(s) if t.endswith("huggingface")]
    assert not any(map(reserves_gpu, services.values()))


@pytest.mark.parametrize("files", [(*GPU, ALONE), (*CPU, ALONE)], ids=["gpu", "cpu"])
def test_alone_the_trainer_waits_for_nobody_and_knows_no_teacher(rendered, files):
    services = rendered(files)["services"]
    assert services.keys() == {"trainer"}
    assert "depends_on" not in services["trainer"]
    assert services["trainer"]["environment"]["SDFT_VLLM_SERVER_BASE_URL"] == ""
    chat = rendered(files, "COMPOSE_PROFILES=chat")["services"]["chat"]
    assert "teacher" not in chat["depends_on"] and "teacher" not in chat["environment"]["OPENAI_API_BASE_URLS"]


@FILES
def test_the_student_is_served_on_loopback_when_asked_for_and_alone(rendered, files):
    services = rendered(files, "COMPOSE_PROFILES=serve", "STUDENT_PORT=9001", "STUDENT_MODEL=outputs/a")["services"]
    assert services.keys() == {"teacher", "trainer", "student"}
    student = services["student"]
    assert "depends_on" not in student  # `up student` starts nothing else
    assert [(p["host_ip"], p["published"], p["target"]) for p in student["ports"]] == [("127.0.0.1", "9001", 8000)]
    assert student["command"][0] == "outputs/a" and student["working_dir"] == "/app"
    assert student["command"][student["command"].index("--served-model-name") + 1] == "student"
    assert student["image"] == services["teacher"]["image"] and "/health" in student["healthcheck"]["test"][-1]
    assert [m["read_only"] for m in student["volumes"] if m["target"].startswith("/app")] == [True, True]
    for name in ("security_opt", "cap_drop", "logging", "restart", "init"):
        assert student[name] == services["teacher"][name], name


@FILES
def test_the_chat_shows_the_student_before_and_after_and_the_teacher_on_loopback(rendered, files):
    services = rendered(files, "COMPOSE_PROFILES=chat", "VLLM_API_KEY=key_secret")["services"]
    chat = services["chat"]
    urls = chat["environment"]["OPENAI_API_BASE_URLS"].split(";")
    assert urls == [f"http://{name}:8000/v1" for name in ("student-before", "student", "teacher")]
    assert chat["environment"]["OPENAI_API_KEYS"].split(";") == ["key_secret"] * 3
    names = chat["environment"]["DEFAULT_MODELS"].split(",")
    for name, served in zip(("student-before", "student"), names, strict=False):
        command = services[name]["command"]
        assert command[command.index("--served-model-name") + 1] == served
    assert {name: wait["condition"] for name, wait in chat["depends_on"].items()} == dict.fromkeys(
        ("teacher", "student", "student-before"), "service_healthy"
    )
    assert [(p["host_ip"], p["published"]) for p in chat["ports"]] == [("127.0.0.1", "3000")]
    assert chat["environment"]["WEBUI_AUTH"] == "false"
    assert re.fullmatch(r".+:v[\d.]+", chat["image"])  # a release, not whatever is newest
    assert rendered(files, "COMPOSE_PROFILES=chat", "CHAT_IMAGE=a/b:c")["services"]["chat"]["image"] == "a/b:c"


@pytest.mark.parametrize("path", sorted((ROOT / "teacher").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_teacher_file_serves_glm_on_the_port_that_the_health_check_asks(path: Path):
    settings = yaml.safe_load(path.read_text())
    assert (settings["served-model-name"], settings["host"], settings["port"]) == ("glm-4.7", "0.0.0.0", 8000)


def test_dockerfiles_need_no_frontend_from_a_registry_and_run_as_nobody_special():
    for path in (ROOT / "docker").glob("*.Dockerfile"):
        assert not path.read_text().startswith("# syntax="), path
    assert "\nUSER 1000:1000\n" in (ROOT / "docker" / "trainer.Dockerfile").read_text()
