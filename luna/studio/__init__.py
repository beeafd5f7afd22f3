"""`luna studio`: one local page to talk, compare, grow and look back in; every action is a command's."""
