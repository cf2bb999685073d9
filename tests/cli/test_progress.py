"""What a person sees while training."""

import io

import pytest

from neural3d.cli.progress import ProgressLine, clock, describe
from neural3d.train.observer import Progress


def progress(**changes) -> Progress:
    values = {"step": 1500, "total_steps": 30_000, "fraction": 0.42, "train_seconds": 60.0, "seconds_left": 83.2}
    values |= {"psnr": 27.314, "num_gaussians": 51_200, "loss": 0.1, "steps_per_second": 25.4}
    return Progress(**{**values, **changes})


def test_one_line_says_it_all():
    expected = " 42 %  step 1,500/30,000  27.31 dB  51,200 Gaussians  25 steps/s  1:23 left"
    assert describe(progress()) == expected
    assert "dB" not in describe(progress(psnr=None))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05"), (-3, "0:00")])
def test_clock(seconds: float, text: str):
    assert clock(float(seconds)) == text


def test_elsewhere_than_on_a_terminal_lines_are_few_and_the_end_is_told():
    stream = io.StringIO()
    line = ProgressLine(stream)
    for step in range(100):
        line.on_progress(progress(step=step), lambda: pytest.fail("no copy is needed"))
    line.on_progress(progress(fraction=1.0), lambda: pytest.fail("no copy is needed"))
    line.close()
    assert len(stream.getvalue().splitlines()) == 2 and line.requested() == "run"
    assert "100 %" in stream.getvalue()


def test_on_a_terminal_one_line_changes():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    line = ProgressLine(stream)
    line.on_progress(progress(), lambda: pytest.fail("no copy is needed"))
    line.on_progress(progress(), lambda: pytest.fail("no copy is needed"))
    assert stream.getvalue().count("\r\x1b[K") == 2 and "\n" not in stream.getvalue()
    line.close()
    line.close()
    assert stream.getvalue().count("\n") == 1
