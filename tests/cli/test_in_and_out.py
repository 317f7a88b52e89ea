"""``record``, ``start``/``turn``/``end``, ``export`` and ``import``: runs in and out of the store."""

from __future__ import annotations

import html.parser
import json
import os
import re
import stat
import subprocess

import pytest

from tests.cli.hostile import HOSTILE, assert_harmless
from tests.cli.place import Place
from tests.cli.test_show import record_variety
from tests.support import wait_until

# --- record -------------------------------------------------------------------------------------------------


def test_a_pipe_records_a_run(live: Place) -> None:
    lines = ['{"tool": "ls", "output": "a", "mine": 1}', "", '{"prompt": "x", "index": 99}']
    run_id = live.run("record", "-a", "p", "-i", "by pipe", given="\n".join(lines)).stdout.strip()
    first, second = live.turns(run_id)
    assert (first.tool, first.output, first.mine, first.index) == ("ls", "a", 1, 0)
    assert (second.prompt, second.index) == ("x", 1)
    (run,) = live.json("list")
    assert (run.run_id, run.outcome_status, run.intent) == (run_id, "done", "by pipe")


def test_the_input_says_how_it_ended(live: Place) -> None:
    given = (
        '{"tool": "x"}\n{"record": "ended", "outcome": {"status": "failure", "summary": "no"}}\n{"tool": "never"}\n'
    )
    live.run("record", "-a", "p", "-i", "x", given=given)
    (run,) = live.json("list")
    assert (run.outcome_status, run.turn_count) == ("failure", 1)


def test_bad_lines_are_recorded_and_counted(live: Place) -> None:
    done = live.run("record", "-a", "p", "-i", "x", given='{"tool": "x"}\n{nonsense\n[1]\n', code=1)
    assert "line 2" in done.stderr
    assert [turn.get("error") is None for turn in live.turns()] == [True, False, False]
    live.run("record", "-a", "q", "-i", "x", "--strict", given='nonsense\n{"tool": "x"}\n', code=1)
    (run,) = live.json("list", "--agent", "q")
    assert (run.outcome_status, run.turn_count) == ("failure", 1)


def test_plain_text_becomes_turns(live: Place) -> None:
    live.run("record", "-a", "p", "-i", "x", "--text", "--tool", "log", given=b"one\n\xff two\n")
    assert [(turn.tool, turn.output) for turn in live.turns()] == [("log", "one"), ("log", "\\xff two")]


def test_record_goes_out_as_it_comes_and_to_the_spool_without_a_daemon(place: Place) -> None:
    done = place.run("record", "-a", "p", "-i", "x", given='{"tool": "x"}\n')
    assert "spool" in done.stderr
    place.daemon.start()
    wait_until(lambda: [run for run in place.json("list") if run.status == "completed"])
    process = place.popen("record", "-a", "q", "-i", "x", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b'{"tool": "now"}\n')
    process.stdin.flush()
    wait_until(lambda: [run for run in place.json("list", "--agent", "q") if run.turn_count == 1])
    process.communicate(timeout=30)


# --- start, turn, end ---------------------------------------------------------------------------------------


def test_a_script_that_comes_and_goes(live: Place) -> None:
    run_id = live.run("start", "-a", "sh", "-i", "by hand").stdout.strip()
    env = {"CARRUNS_RUN_ID": run_id}
    live.run("turn", "--tool", "ls", "--output", "-", given="files\n", env=env)
    live.run("turn", "--tool", "x", "--parameters", '{"a": [1]}', "--exit-code", "3", env=env)
    live.run("turn", "--turn-json", '{"tool": "y", "mine": true}', "--run", run_id[:-2])
    (run,) = live.json("list")
    assert (run.status, run.turn_count) == ("in_progress", 3)
    live.run("end", "--status", "success", "--summary", "fine", "--evidence", "seen", env=env)
    (run,) = live.json("list")
    assert run.outcome_status == "success"
    first, second, third = live.turns(run_id)
    assert first.output == "files\n"
    assert (second.parameters, second.cli_outcome) == ({"a": [1]}, {"exit_code": 3})
    assert third.mine is True
    assert "run_terminal" in live.run("turn", "--tool", "late", env=env, code=1).stderr


def test_script_usage(live: Place) -> None:
    assert "--run" in live.run("turn", "--tool", "x", code=2).stderr
    run_id = live.run("start", "-a", "sh", "-i", "x", "--id", "mine").stdout.strip()
    assert run_id == "mine" == live.run("start", "-a", "sh", "-i", "x", "--id", "mine").stdout.strip()
    live.run("turn", "--run", "mine", code=2)
    live.run("turn", "--run", "mine", "--parameters", "{", code=2)
    live.run("turn", "--run", "nobody", "--tool", "x", code=3)
    live.run("end", "--run", "mine", "--abandon")
    assert live.json("list")[0].status == "incomplete"


def test_scripts_need_a_daemon(place: Place) -> None:
    assert "daemon" in place.run("end", "--run", "x", code=69).stderr


# --- export -------------------------------------------------------------------------------------------------


def test_jsonl_is_what_is_stored_and_comes_back(live: Place) -> None:
    run_id = record_variety(live)
    target = live.base / "run.jsonl"
    live.run("export", run_id, "-o", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    stored = live.runs_root / "worker" / f"{run_id}.jsonl"
    assert target.read_bytes() == stored.read_bytes()
    assert "there already" in live.run("export", run_id, "-o", str(target), code=1).stderr
    other = live.base / "elsewhere"
    live.run("export", run_id, "-o", str(target), "--force")
    assert "1 there already" in live.run("import", str(target)).stdout
    assert not other.exists()


def test_json_is_one_object(live: Place) -> None:
    run_id = record_variety(live)
    value = json.loads(live.run("export", run_id, "-f", "json").stdout)
    assert value["summary"]["run_id"] == run_id
    assert len(value["records"]) == 6


class Page(html.parser.HTMLParser):
    """Collects the tags and their attributes of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def record_hostile(place: Place) -> str:
    evil = (
        HOSTILE
        + '"><img src=x onerror=alert(1)></pre></title></style><script>x</script>``` ```` ` [a](javascript:x)'
    )
    with place.client() as client, client.run("evil", intent=evil, metadata={evil: evil}) as run:
        run.turn(tool=evil, prompt=evil, parameters={evil: evil}, output=evil + "\n```\n# heading", error=evil)
        run.turn(output={"stream": evil, "text": evil}, model=evil, usage={"input_tokens": evil})
        run.fail(evil, evidence=[evil])
        return run.id


def test_html_holds_no_tag_that_an_agent_wrote(live: Place) -> None:
    text = live.run("export", record_hostile(live), "-f", "html").stdout
    assert_harmless(text)
    page = Page(text)
    assert page.tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "section", "span",
        "div", "pre", "details", "summary",
    }  # fmt: skip
    assert {name for _, name in page.attributes} <= {
        "lang",
        "dir",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
    }
    assert "alert(1)" in page.text
    assert "default-src 'none'" in text


def test_markdown_keeps_what_an_agent_wrote_in_code(live: Place) -> None:
    text = live.run("export", record_hostile(live), "-f", "markdown").stdout
    assert_harmless(text)
    outside, fence = [], ""
    for line in text.splitlines():
        mark = re.match("(`{3,})[^`]*$", line)
        if fence and line == fence:
            fence = ""
        elif not fence and mark:
            fence = mark[1]
        elif not fence:
            outside.append(re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    assert fence == ""
    assert not [line for line in outside if "alert" in line or "<" in line or "javascript" in line]


# --- import -------------------------------------------------------------------------------------------------


def test_import_from_another_car_directory(live: Place) -> None:
    from tests.support import short_directory

    run_id = record_variety(live)
    other_id = live.run_of("b", "other")
    with short_directory() as base:
        there = Place(base)
        there.daemon.start()
        try:
            assert "2 would be imported" in there.run("import", "--dry-run", str(live.car_dir)).stdout
            assert there.json("list") == []
            assert "2 imported" in there.run("import", str(live.car_dir)).stdout
            assert "2 there already" in there.run("import", str(live.car_dir)).stdout
            for agent, run in (("worker", run_id), ("b", other_id)):
                name = f"{agent}/{run}.jsonl"
                assert (there.runs_root / name).read_bytes() == (live.runs_root / name).read_bytes()
        finally:
            there.close()


def test_import_of_bad_files(live: Place) -> None:
    (live.base / "empty.jsonl").write_text("")
    (live.base / "bad.jsonl").write_text("{no\nno\n")
    (live.base / "anonymous.jsonl").write_text('{"record": "started", "run_id": "", "agent_id": "x"}\n')
    paths = [str(live.base / name) for name in ("empty.jsonl", "bad.jsonl", "anonymous.jsonl")]
    rows = live.json("import", *paths, code=1)
    assert [row.result for row in rows] == ["failed"] * 3
    assert live.json("list") == []


def test_import_of_what_is_no_file_and_of_a_link(live: Place) -> None:
    os.mkfifo(live.base / "pipe")
    (row,) = live.json("import", str(live.base / "pipe"), code=1)
    assert (row.result, row.message) == ("failed", "is no regular file")
    (live.base / "file").write_text('{"tool": "x"}\n')
    (live.base / "link").symlink_to(live.base / "file")
    assert "1 imported" in live.run("import", str(live.base / "link"), "--agent", "old").stdout


def test_import_of_plain_lines(live: Place) -> None:
    path = live.base / "notes.jsonl"
    path.write_text('{"tool": "x", "record": "turn?"}\n"text"\n{bad\n')
    assert "--agent" in live.run("import", str(path), code=1).stderr
    done = live.run("import", str(path), "--agent", "old", "--intent", "notes")
    assert "1 line left out: not readable" in done.stderr
    first, second = live.turns()
    assert (first.tool, second.output) == ("x", "text")
    assert live.json("list")[0].outcome_status == "done"


@pytest.mark.parametrize("lines", [600])
def test_import_of_a_large_run_keeps_every_record(live: Place, lines: int) -> None:
    ids = {"run_id": "large", "agent_id": "a"}
    started = {"record": "started", **ids, "intent": "x", "started_at": "2026-11-22T00:00:00Z"}
    turns = [{"record": "turn", "index": n, "parameters": None, "output": "x" * 20_000} for n in range(lines)]
    text = "".join(json.dumps(record) + "\n" for record in [started, *turns])
    (live.base / "large.jsonl").write_text(text)
    assert "1 imported" in live.run("import", str(live.base / "large.jsonl")).stdout
    assert [turn["index"] for turn in live.turns("large")] == list(range(lines))
