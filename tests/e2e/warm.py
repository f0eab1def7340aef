"""Runs `reasoner` commands as forks of one process that has imported the training libraries already.

Importing them takes a command some 15 seconds of processor, and a flow is dozens of commands. Each is still a process
of its own, with its own arguments, environment, folder, output, signals and exit code; only the imports are shared.
What starts the way a person starts it (`make reasoner` among it) is for the tests to say.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

PRELOADED = (
    "torch", "transformers", "transformers.models.llama.modeling_llama", "peft", "datasets", "trl.trainer.grpo_trainer",
    "gguf", "httpx", "numpy", "psutil", "rich.console", "rich.live", "rich.table", "safetensors.torch", "scipy.stats",
    "reasoner.cli.main",
)  # fmt: skip


class Command:
    """A command under way. Its process is a grandchild: signals go to `pid`, the exit code comes from `wait`."""

    def __init__(self, connection):
        self._answers = connection.makefile("r")
        self.pid = json.loads(self._answers.readline())
        self.returncode = None
        self._ended = threading.Thread(target=self._read, daemon=True)
        self._ended.start()

    def _read(self):
        with self._answers:
            self.returncode = json.loads(self._answers.readline())

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._ended.join(timeout)
        if self._ended.is_alive():
            raise subprocess.TimeoutExpired("reasoner", timeout)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process that commands are forked from; `environment` is what the libraries see when they are imported."""

    def __init__(self, folder, environment):
        self._path = str(folder / "warm.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen()
            listener.set_inheritable(True)
            with (folder / "warm.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(listener.fileno())], env=environment, pass_fds=[listener.fileno()],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip

    def start(self, argv, *, env, cwd, stdout, stderr):
        """Starts `reasoner` with these arguments; `stdout` and `stderr` are open files."""
        asked = json.dumps({"argv": argv, "env": env, "cwd": str(cwd)}).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._path)
            socket.send_fds(connection, [len(asked).to_bytes(4, "big")], [stdout.fileno(), stderr.fileno()])
            connection.sendall(asked)
            return Command(connection)

    def run(self, argv, *, env, cwd, timeout=None):
        """Runs a command to its end, as `subprocess.run` with its output captured as text."""
        with open(os.memfd_create("stdout"), "w+b") as out, open(os.memfd_create("stderr"), "w+b") as err:
            command = self.start(argv, env=env, cwd=cwd, stdout=out, stderr=err)
            try:
                code = command.wait(timeout)
            except subprocess.TimeoutExpired:
                command.kill()
                raise
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(["reasoner", *argv], code, *texts)

    def close(self):
        self._process.terminate()
        self._process.wait()


def serve(listener):
    """Forks for each connection; returns in the process that is to be the command, made up as asked."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for commands need not be waited for
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            break
        connection.close()
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, fds, _, _ = socket.recv_fds(connection, 4, 2)
    with connection.makefile("rb") as stream:
        asked = json.loads(stream.read(int.from_bytes(head, "big")))
    if pid := os.fork():
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(f"{pid}\n".encode())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            connection.sendall(f"{code}\n".encode())
        os._exit(0)
    connection.close()
    for number, fd in enumerate(fds, 1):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv[1:] = asked["argv"]


if __name__ == "__main__":
    import importlib

    for name in PRELOADED:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[0] = "reasoner"
    from reasoner.cli.main import main

    main()
