"""One folder of models for a teacher that is root and a trainer that is not: each writes where the other wrote."""

import subprocess
from pathlib import Path

TRAINER, TEACHER = "self-distillation-trainer:cpu", "self-distillation-teacher:cpu"
LOADING = """
import os, pathlib, sys
from huggingface_hub.utils import WeakFileLock
hub = pathlib.Path(sys.argv[1], "hub")
for name in sys.argv[2:]:
    (hub / ".locks" / name).mkdir(parents=True, exist_ok=True)
    with WeakFileLock(hub / ".locks" / name / "weights.lock"):
        (hub / name / "blobs").mkdir(parents=True, exist_ok=True)
        (hub / name / "blobs" / str(os.getuid())).write_text("weights")
"""  # as the hub's client leaves a download


def test_a_model_that_the_teacher_loaded_can_be_completed_by_the_trainer(smoke: Path, rendered, tmp_path):
    folder = tmp_path / "huggingface"
    folder.mkdir()
    folder.chmod(0o777)  # the first folder is the user's, and whoever runs this test need not be 1234
    services = rendered(("docker-compose.yml",), "TRAINER_UID=1234", "TRAINER_GID=5678")["services"]
    umask = services["teacher"]["entrypoint"][2].partition(";")[0]

    def load(service: str, image: str, *models: str) -> None:
        user, added = services[service]["user"], services[service].get("cap_add", [])
        command = ["docker", "run", "--rm", "--user", user, "--cap-drop", "ALL"]
        command += [f"--cap-add={name}" for name in added]
        command += ["--volume", f"{folder}:/models", "--entrypoint", "sh", image, "-c"]
        way = f'{umask}; exec python3 -c "$0" "$@"' if service == "teacher" else 'exec python3 -c "$0" "$@"'
        done = subprocess.run([*command, way, LOADING, "/models", *models], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    load("teacher", TEACHER, "models--the--teacher")
    load("trainer", TRAINER, "models--the--student", "models--the--teacher")
    load("teacher", TEACHER, "models--the--student")
    assert {path.name for path in folder.glob("hub/*/blobs/*")} == {"0", "1234"}
