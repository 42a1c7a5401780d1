"""Checks of a server's responses."""

import re


def text_of(response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"].strip()


def check_refused(response, words, made, one_line=True) -> None:
    """Check for a 4xx with these words, revealing nothing of the server."""
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]["message"]
    assert re.search(words, error), error
    assert not re.search(r"Traceback|File \"|0x[0-9a-f]{6}|/site-packages/", error), error
    assert str(made) not in error
    if one_line:
        assert "\n" not in error and len(error) < 800
