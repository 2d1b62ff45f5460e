"""`python -m turnout.proxy.worker FD`: a fresh interpreter that the supervisor starts.

Compiled modules are found before any other of ours is imported.
"""

from turnout.proxy.compiled import prefer_compiled

if __name__ == "__main__":
    build = prefer_compiled()
    from turnout.proxy.worker.main import main

    main(build)
