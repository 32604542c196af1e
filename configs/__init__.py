"""The shipped configs, a file a method; `recipes` and `semi` hold what they share. Installed as jssl.configs."""
