"""`scr edit train-mend`, and an edit by what it trained."""

import json

SAMPLE = {
    "prompt": "Who leads Cobalt Software?",
    "subject": "Cobalt Software",
    "target": "Granite",
    "rephrases": ["Who is at the head of Cobalt Software?"],
    "others": ["The river of Kestria is the Olm."],
}
QUICK = ("--set", "samples=4", "--set", "every=4", "--set", "rank=4", "--set", "last=1")
TRAIN = ("edit", "train-mend", "--samples", "samples.jsonl", "--out", "networks", *QUICK)


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_networks_are_trained_and_edit(scr, tmp_path):
    write(tmp_path / "samples.jsonl", *({**SAMPLE, "id": n} for n in range(3)))
    request = {name: SAMPLE[name] for name in ("prompt", "subject", "target")}
    write(tmp_path / "requests.jsonl", request)
    ran = scr(*TRAIN)
    assert (ran.code, ran.err) == (0, "")
    assert "wrote networks: best after 4 edits" in ran.out
    assert scr(*TRAIN).code == 2  # the folder is taken
    (again,) = scr(*TRAIN, "--resume", "--set", "samples=8", "--json").json
    assert [line["samples"] for line in again["history"]] == [4, 8][: len(again["history"])]
    edit = ("edit", "apply", "--method", "mend", "--requests", "requests.jsonl", "--out", "edit")
    ran = scr(*edit, "--yes", "--set", "trained=networks")
    assert (ran.code, ran.err) == (0, "")
    assert "model.layers.5.mlp.up_proj.weight" in ran.out
    refused = scr("edit", "apply", "--method", "mend", "--requests", "requests.jsonl",
                  "--out", "other", "--yes")  # fmt: skip
    assert refused.code == 2
    assert "train-mend" in refused.err


def test_samples_that_cannot_be_used_are_named(scr, tmp_path):
    write(tmp_path / "samples.jsonl", SAMPLE, {**SAMPLE, "rephrases": ["Who leads Granite?"]})
    refused = scr(*TRAIN)
    assert refused.code == 2
    assert "samples.jsonl, line 2" in refused.err
    write(tmp_path / "samples.jsonl", {**SAMPLE, "others": "The river"})
    assert "line 1: others" in scr(*TRAIN).err
    assert scr("edit", "train-mend", "--out", "networks", "--set", "rank=none").code == 2
