import json
from dataclasses import dataclass, make_dataclass

import pytest

from llmguide.cli.main import main
from llmguide.files import write_json
from llmguide.projects.acceptance import Criterion, require_finished, verdict
from llmguide.projects.run import Run, plan_of, write_measurement


@dataclass(frozen=True)
class Plan:
    size: int = 1


def run(folder, *, size=1):
    return Run("letters", Plan(size), 3, folder)


def test_a_stage_that_is_done_is_not_done_again(tmp_path):
    assert run(tmp_path).stage("first", lambda: {"a": 1}) == {"a": 1}
    assert run(tmp_path).stage("first", lambda: pytest.fail("again")) == {"a": 1}


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run(tmp_path).stage("first", lambda: 1 // 0)
    assert run(tmp_path).stage("first", lambda: 2) == 2


def leave(folder, weights):
    """A stage that leaves a model."""

    def make():
        (folder / "sft").mkdir(exist_ok=True)
        (folder / "sft" / "model.safetensors").write_bytes(weights)

    return make


def test_a_model_that_was_changed_is_not_built_upon(tmp_path):
    begun = run(tmp_path)
    begun.stage("sft", leave(tmp_path, b"one"))
    begun.stage("ppo", lambda: 2)
    again = run(tmp_path)
    again.stage("sft", lambda: pytest.fail("again"))
    assert again.stage("ppo", lambda: pytest.fail("again")) == 2
    leave(tmp_path, b"two")()
    with pytest.raises(ValueError, match=r"model.safetensors is not what the stage 'sft' wrote"):
        run(tmp_path).stage("sft", lambda: pytest.fail("again"))
    (tmp_path / "sft" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model.safetensors is not what the stage 'sft' wrote"):
        run(tmp_path).stage("sft", lambda: pytest.fail("again"))


def test_what_was_made_from_a_stage_is_not_kept_when_that_is_done_anew(tmp_path):
    begun = run(tmp_path)
    begun.stage("sft", leave(tmp_path, b"one"))
    begun.stage("ppo", lambda: 2)
    (tmp_path / "stages" / "sft.json").unlink()
    again = run(tmp_path)
    again.stage("sft", leave(tmp_path, b"two"))
    with pytest.raises(ValueError, match=r"ppo.json is older than the stage 'sft', which was repeated"):
        again.stage("ppo", lambda: 3)
    (tmp_path / "stages" / "ppo.json").unlink()
    assert again.stage("ppo", lambda: 3) == 3


def test_a_folder_keeps_to_one_plan(tmp_path):
    run(tmp_path).stage("first", lambda: 1)
    with pytest.raises(ValueError, match=r"size=2 \(was 1\)"):
        run(tmp_path, size=2)


@pytest.mark.parametrize("content", ["{", "[]", '{"project": "letters"}'])
def test_a_damaged_folder_is_named(tmp_path, content):
    run(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json .*run the project again"):
        plan_of(Plan, tmp_path)


def test_a_start_that_failed_does_not_hold_its_folder(tmp_path):
    run(tmp_path)
    assert run(tmp_path, size=2).stage("first", lambda: 1) == 1
    with pytest.raises(ValueError, match=r"size=1 \(was 2\)"):
        run(tmp_path)


def test_a_negative_seed_is_refused_by_its_name(tmp_path):
    with pytest.raises(ValueError, match="seed=-1 must be 0 or more"):
        Run("letters", Plan(), -1, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["base_steps", "n_steps", "batch_size"])
def test_a_plan_that_trains_nothing_is_refused_before_it_starts(tmp_path, option):
    plan = make_dataclass("Plan", [option])(0)
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} 0 must be at least 1"):
        Run("letters", plan, 0, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_record_says_what_was_run(tmp_path):
    begun = run(tmp_path)
    begun.stage("first", lambda: 1)
    begun.finish({"score": 0.5}, {})
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["project"], record["seed"], record["plan"]) == ("letters", 3, {"size": 1})
    assert record["results"] == {"score": 0.5}
    assert record["versions"].keys() == {"python", "torch", "llmguide"}
    assert record["processor_seconds"] == 0
    assert plan_of(Plan, tmp_path) == Plan(1)


def test_the_record_of_several_processes_says_how_they_were_started(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr("sys.argv", ["llmguide", "project", "letters"])
    run(tmp_path).finish({}, {})
    command = json.loads((tmp_path / "record.json").read_text())["command"]
    assert command == "torchrun --nproc-per-node 2 -m llmguide project letters"


def record_with_peaks(folder, monkeypatch, *peaks):
    """The record of a run that was resumed after each stage, in processes with these peaks."""
    for i, peak in enumerate(peaks):
        monkeypatch.setattr("llmguide.projects.run.peak_memory", lambda peak=peak: peak)
        begun = run(folder)
        for name in range(min(i + 1, len(peaks) - 1)):
            begun.stage(str(name), lambda: 1)
    begun.finish({}, {})
    return json.loads((folder / "record.json").read_text())


@pytest.mark.parametrize("peaks", [(900, 300, 200), (200, 900, 300), (200, 300, 900)])
def test_a_run_that_was_resumed_keeps_the_largest_peak_of_its_processes(tmp_path, monkeypatch, peaks):
    assert record_with_peaks(tmp_path, monkeypatch, *peaks)["peak_memory_bytes"] == 900


def test_the_memory_of_a_run_is_printed_in_gigabytes(tmp_path, monkeypatch, capsys):
    record_with_peaks(tmp_path, monkeypatch, 2_340_000_000, 1_000_000_000)
    assert "0 s of processor time, at most 2.3 GB of memory\n" in capsys.readouterr().out


def test_a_run_on_a_system_that_reports_no_memory_is_recorded_without(tmp_path, monkeypatch, capsys):
    assert record_with_peaks(tmp_path, monkeypatch, None, None)["peak_memory_bytes"] is None
    assert "memory" not in capsys.readouterr().out


def test_a_stage_of_a_version_that_recorded_no_memory_is_read(tmp_path, monkeypatch):
    run(tmp_path).stage("first", lambda: 1)
    path = tmp_path / "stages" / "first.json"
    stage = json.loads(path.read_text())
    del stage["peak_memory_bytes"]
    write_json(path, stage)
    monkeypatch.setattr("llmguide.projects.run.peak_memory", lambda: 300)
    begun = run(tmp_path)
    begun.stage("first", lambda: pytest.fail("again"))
    begun.finish({}, {})
    assert json.loads((tmp_path / "record.json").read_text())["peak_memory_bytes"] == 300


def test_a_measurement_records_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("llmguide.projects.run.peak_memory", lambda: 300)
    write_measurement(tmp_path / "record.json", "letters", "some.module", {}, {}, seed=0)
    assert json.loads((tmp_path / "record.json").read_text())["peak_memory_bytes"] == 300


def test_only_a_finished_run_of_the_project_is_checked(tmp_path):
    with pytest.raises(ValueError, match="llmguide project letters --output"):
        require_finished("letters", tmp_path)
    run(tmp_path)
    with pytest.raises(ValueError, match="is not finished"):
        require_finished("letters", tmp_path)
    write_json(tmp_path / "record.json", {})
    with pytest.raises(ValueError, match="a run of 'letters', not of 'words'"):
        require_finished("words", tmp_path)


def test_one_failure_fails_all(capsys):
    good, bad = Criterion("a", 0.7, "above 0.6", True), Criterion("b", 0.5, "above 0.6", False)
    assert verdict("rlhf", "mine", [good])
    assert not verdict("rlhf", "mine", [good, bad])
    assert "not passed" in capsys.readouterr().out


def test_the_command_names_what_it_cannot_check(tmp_path, capsys):
    assert main(["check", "character-model", str(tmp_path)]) == 1
    assert "Create a run with: llmguide project character-model --output" in capsys.readouterr().err
    (tmp_path / "character-model").mkdir()
    assert main(["check", "character-model", str(tmp_path / "charactr-model")]) == 1
    message = capsys.readouterr().err
    assert (
        f"charactr-model does not exist; did you mean {tmp_path / 'character-model'}? Create a run" in message
    )
    assert message.endswith("or start the assignment with: llmguide start character-model\n")
    assert main(["check", "code-assistant", str(tmp_path / "none")]) == 1
    message = capsys.readouterr().err
    assert "none does not exist. Create a run with: llmguide project code-assistant --output" in message
    assert "llmguide start" not in message
