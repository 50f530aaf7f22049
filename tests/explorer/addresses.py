"""Where the explorer is served in these tests, and the id of a passage that tries to be markup."""

HOME = "http://127.0.0.1:8000"
HOSTILE = "x<i>"
