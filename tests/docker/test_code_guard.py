"""Code of a model within the trainer's image, as Compose runs it: it gets out of its guarded process there neither."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRAINER_IMAGE = "self-distillation-trainer:cpu"
TIGHT = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]


def test_no_attack_gets_out_of_the_guarded_process_in_a_container_without_rights(smoke: Path, tmp_path: Path):
    campaigns = shutil.copytree(ROOT / "scripts" / "campaigns", tmp_path / "campaigns")
    for path in (campaigns, *campaigns.rglob("*")):  # the checkout may be its owner's alone
        path.chmod(0o755)
    places = ["--volume", f"{campaigns}:/app/scripts/campaigns:ro", "--env", "PYTHONPATH=/app:/app/scripts"]
    words = ["--entrypoint=python", TRAINER_IMAGE, "-B", "-m", "campaigns.code"]
    command = ["docker", "run", "--rm", "--user=1000:1000", *TIGHT, *places, *words]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert [name for name, what in found.items() if what == "out"] == []
    assert Counter(found.values())["held"] >= 120  # these get out there without the guard
