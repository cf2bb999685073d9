"""The names of the command line are a contract, and asking for help costs nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from neural3d import bench
from neural3d.cli import main
from neural3d.cli.options import Bench, Command, Demo, Eval, Export, Inspect, Make, Render, Train, View, one_line, parse
from neural3d.cli.training import config_from
from neural3d.errors import InputError

TRAIN = ["train", "splat", "--capture", "c", "--output", "r"]


TYPED = [
    ("demo --no-viewer", Demo, {"viewer": False, "output": Path("runs/demo")}),
    ("make photos --output r", Make, {"source": Path("photos"), "viewer": True}),
    ("inspect c --json", Inspect, {"capture": Path("c"), "json": True}),
    ("inspect c --picture p.png", Inspect, {"picture": Path("p.png")}),
    ("train splat --capture c --output r --steps 9", Train, {"method": "splat", "capture": Path("c"), "steps": 9}),
    ("train splat --output r --max-seconds 5 --downscale 2", Train, {"max_seconds": 5.0, "downscale": 2.0}),
    ("train splat --output r --seed 3 --resume --viewer", Train, {"seed": 3, "resume": True, "viewer": True}),
    ("train splat --output r --background white --overwrite", Train, {"background": "white", "overwrite": True}),
    ("train splat --output r --device cpu --backend native", Train, {"device": "cpu", "backend": "native"}),
    ("train splat --output r --max-gaussians 7 --densify adc", Train, {"max_gaussians": 7, "densify": "adc"}),
    ("train splat --output r --antialiased --exposure none", Train, {"antialiased": True, "exposure": "none"}),
    ("train splat --output r --sh-degree 1", Train, {"sh_degree": 1}),
    ("eval r --json", Eval, {"run": Path("r"), "json": True}),
    ("render r --cameras test --output d --format png", Render, {"cameras": "test", "format": "png"}),
    ("render r --output turn.mp4", Render, {"cameras": "orbit", "format": None}),
    ("view a.ply", View, {"source": Path("a.ply"), "host": "127.0.0.1"}),
    ("view a.ply --allow-host a --allow-host b", View, {"allow_host": ("a", "b")}),
    ("export r --format ply --output a.ply", Export, {"format": "ply"}),
    ("bench quality --json", Bench, {"table": "quality", "json": True, "device": None}),
    ("bench step --device cuda", Bench, {"table": "step", "device": "cuda"}),
]
NOT_UNDERSTOOD = [
    "",
    "bogus",
    "eval",
    "train mesh --output r",
    "train splat --output r --steps x",
    "export r --format obj --output x",
    "render r --output d --format bmp",
    "render r --output d --fps many",
    "view a --port 7e3",
]
SENSELESS = ["--steps 0", "--max-seconds -1", "--max-seconds nan", "--sh-degree 4", "--max-gaussians 0", "--seed -1"]


@pytest.mark.parametrize(("line", "kind", "expected"), TYPED)
def test_what_can_be_typed(line: str, kind: type, expected: dict):
    command = parse(line.split())
    assert isinstance(command, kind)
    assert {name: getattr(command, name) for name in expected} == expected


def test_bench_offers_every_table_that_there_is():
    tables = get_args(bench.Table)
    assert {"step", "render", "quality", "memory"} <= set(tables)
    for table in tables:
        assert parse(["bench", table, "--json"]) == Bench(table=table, json=True)
        assert (Path(__file__).parents[2] / "benchmarks" / f"{table}.py").is_file()


@pytest.mark.parametrize("line", NOT_UNDERSTOOD)
def test_what_cannot_be_understood_is_status_2(line: str, capsys: pytest.CaptureFixture[str]):
    assert main(line.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("neural3d: error: ") and said.endswith("--help") and "; see neural3d" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train splat --output r --steps 1e3", "--steps: expected a whole number, got '1e3'"),
        ("train splat --output r --max-seconds soon", "--max-seconds: expected a number, got 'soon'"),
        ("train splat --output r --stepz 3", "Unrecognized options: --stepz, 3; perhaps you meant --steps"),
        ("train splat --output r --background pink", "'pink' for argument '--background'. Expected one of ('auto',"),
        ("render r", "Missing from neural3d render: --output"),
        ("bogus", "Unrecognized options: bogus"),
    ],
)
def test_what_cannot_be_understood_is_named(line: str, said: str):
    with pytest.raises(InputError) as refused:
        parse(line.split())
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_complaints_are_the_same_where_no_lines_can_be_drawn():
    code = "import sys; from neural3d.cli import main; sys.exit(main(sys.argv[1:]))"
    for line, said in (
        ("eval", "Missing from neural3d eval: RUN Folder of the run. (required); see neural3d eval --help"),
        ("view a --port x", "Error parsing --port: expected a whole number, got 'x'; see neural3d --help"),
        (
            "prior train --prior ae --images i --output o --overwrite",
            "Unrecognized or misplaced options: --overwrite (applied to neural3d prior train); see neural3d --help",
        ),
        ("eval r --jsn", "Unrecognized options: --jsn; perhaps you meant --json; see neural3d --help"),
    ):
        for encoding in ("utf-8", "ascii"):
            environment = {**os.environ, "PYTHONIOENCODING": encoding}
            command = [sys.executable, "-c", code, *line.split()]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert (done.returncode, done.stderr) == (2, f"neural3d: error: {said}\n")


def test_a_complaint_in_another_form_is_still_one_line():
    assert one_line("") == "" and one_line("title\nsome  words\nmore") == "some words more"


def test_help_says_what_is_chosen_where_nothing_is_given(capsys: pytest.CaptureFixture[str]):
    names = [[get_args(command)[1].name] for command in get_args(Command)]
    for name in [*names, *(["prior", action] for action in ("train", "sample", "inpaint"))]:
        with pytest.raises(SystemExit) as stopped:
            parse([*name, "--help"])
        shown = capsys.readouterr().out
        assert stopped.value.code == 0
        assert "--no-json" not in shown and not re.search(r"\b(None|STR|INT)\b", shown), name


def test_help_imports_nothing_heavy():
    code = """
import sys
from neural3d.cli import main
try:
    main(["train", "--help"])
except SystemExit as stopped:
    assert stopped.code == 0
print(sorted({"torch", "numpy", "viser", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--max-seconds" in done.stdout and done.stdout.splitlines()[-1] == "[]"


def test_a_count_of_steps_lifts_the_limit_on_time():
    assert config_from(parse(TRAIN)).max_seconds == 300 and config_from(parse(TRAIN)).steps == 30_000
    assert config_from(parse([*TRAIN, "--steps", "9"])).max_seconds is None
    both = config_from(parse([*TRAIN, "--steps", "9", "--max-seconds", "5"]))
    assert (both.steps, both.max_seconds) == (9, 5.0)
    assert config_from(parse([*TRAIN, "--max-seconds", "5"])).steps == 30_000


@pytest.mark.parametrize("wrong", SENSELESS)
def test_values_that_make_no_sense_are_input_errors(wrong: str):
    flag, value = wrong.split()
    with pytest.raises(InputError, match=f"^{flag}: expected"):
        config_from(parse([*TRAIN, flag, value]))
