"""Entry point of `kling-batch` and `python -m kling_batch`; holds no logic of its own."""

from kling_batch.cli.main import main

if __name__ == "__main__":
    main()
