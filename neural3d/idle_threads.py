"""How torch's own threads wait, said before torch is loaded."""

import os


def let_idle_threads_sleep() -> None:
    """Ask for OpenMP threads that sleep when they have nothing to do; call it before anything imports torch.

    Otherwise each of torch's threads keeps a core busy for milliseconds after an operation, waiting for the next one;
    the native engine's threads want those cores, and a training step took up to 1.4 times as long. Whoever has set
    `OMP_WAIT_POLICY` knows better, and is obeyed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
