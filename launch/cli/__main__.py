"""``python -m launch.cli`` is ``cxr``: executors start runs by the interpreter they run under."""

from launch.cli import main

if __name__ == "__main__":
    main()
