"""Work in pieces: one torch thread in each, and every caller keeps its own number of threads."""

import threading
from collections.abc import Iterator

import pytest
import torch

from neural3d.fields.pieces import map_pieces

PATIENCE_S = 20


def have_threads(count: int) -> None:
    torch.get_num_threads()  # a thread's first look takes over what was set last, whatever it had set itself
    torch.set_num_threads(count)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    have_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_torch_has_one_thread_inside_and_as_many_as_before_outside(threads, count):
    found = map_pieces(lambda piece: (piece, torch.get_num_threads()), range(count))
    assert found == [(piece, 1) for piece in range(count)] and torch.get_num_threads() == 3


def test_an_error_leaves_the_number_as_it_was(threads):
    with pytest.raises(ZeroDivisionError):
        map_pieces(lambda piece: 1 // piece, [0, 1])
    assert torch.get_num_threads() == 3


def test_who_comes_while_another_works_leaves_him_his_threads(threads):
    """A viewer that asks while a training works, and is done later."""
    training_works, viewer_works, training_done = (threading.Event() for _ in range(3))
    left = {}

    def training() -> None:
        have_threads(3)
        map_pieces(lambda piece: (training_works.set(), viewer_works.wait(PATIENCE_S)), range(2))
        left["training"] = torch.get_num_threads()
        training_done.set()

    def viewer() -> None:
        have_threads(2)
        training_works.wait(PATIENCE_S)
        map_pieces(lambda piece: (viewer_works.set(), training_done.wait(PATIENCE_S)), range(1))
        left["viewer"] = torch.get_num_threads()

    both = [threading.Thread(target=work) for work in (training, viewer)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(3 * PATIENCE_S)
    assert left == {"training": 3, "viewer": 2}


def test_threads_that_begin_while_pieces_are_worked_on_get_all(threads):
    """Torch gives a thread that begins the number that was set last, by whomever."""
    found = []

    def begin(piece: int) -> None:
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join(PATIENCE_S)

    map_pieces(begin, range(2))
    assert found == [3, 3]
