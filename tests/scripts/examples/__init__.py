"""Programs that use MegaBotClient; `test_examples.py` runs each."""
