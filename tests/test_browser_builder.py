"""The network builder in a real JupyterLab: mouse, keyboard, errors in place, JSON, what Python gets."""

from __future__ import annotations

from labs import BROWSER, Lab

pytestmark = BROWSER

BUILD = "import aigym_kernel as aigym\nbuilder = aigym.network_builder('CartPole-v1')\nbuilder"
SHOW = "print('built:', builder.network, builder.algo)"
BROKEN = '{"layers": [{"type": "dense", "units": 5}, {"type": "<img src=x onerror=\'window.pwned=1\'>"}]}'


def test_a_network_is_built_by_mouse_and_by_keyboard(lab: Lab) -> None:
    lab.open("builder.ipynb", BUILD, SHOW)
    lab.wait(".aigym-builder .aigym-layer")
    page, keyboard = lab.page, lab.page.keyboard
    lab.expect("document.querySelector('.aigym-builder .aigym-heading').innerText === '4,675 parameters'")
    cells = lab.cells()
    rows = ".aigym-builder .aigym-layer"

    def expect_types(*types: str) -> None:
        found = f"[...document.querySelectorAll('{rows} [data-name=type]')].map(s => s.value).join()"
        lab.expect(f"{found} === '{','.join(types)}'")

    # By mouse: a layer more, other units, another algorithm.
    page.get_by_label("type of a new layer").select_option("dropout")
    page.get_by_role("button", name="Add layer").click()
    expect_types("dense", "dense", "dropout")
    page.get_by_label("units of layer 1").fill("32")
    lab.expect("document.querySelector('.aigym-builder .aigym-heading').innerText === '2,467 parameters'")
    page.get_by_role("button", name="move up layer 3").click()
    expect_types("dense", "dropout", "dense")
    assert page.evaluate("document.activeElement.dataset.name") == "up"
    page.get_by_role("button", name="remove layer 2").click()
    expect_types("dense", "dense")
    page.get_by_label("algorithm").select_option("dqn")

    # By keyboard, none of which reaches the notebook.
    page.locator(rows).first.focus()
    keyboard.press("a")
    expect_types("dense", "dropout", "dense")
    for key in ("Shift+ArrowDown", "b", "x", "d", "d", "m", "ArrowUp", "ArrowUp", "Delete"):
        keyboard.press(key)
    expect_types("dense", "dropout")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "layer 1, dense"
    assert lab.cells() == cells

    # What cannot be is told where it is.
    page.get_by_label("type of layer 2").select_option("conv")
    lab.expect(f"document.querySelectorAll('{rows}')[1].innerText.includes('needs a picture')")
    page.get_by_role("button", name="remove layer 2").click()
    page.get_by_label("units of layer 1").fill("many")
    lab.expect(
        f"document.querySelector('{rows}').innerText.includes(\"units='many' must be a whole number\")"
    )
    page.locator(".aigym-builder summary", has_text="JSON").click()
    page.get_by_label("network as JSON").fill(BROKEN)
    page.get_by_role("button", name="Use this JSON").click()
    lab.expect(f"document.querySelectorAll('{rows}')[1].innerText.includes('unknown type of layer 2')")
    assert page.evaluate("window.pwned") is None
    page.get_by_label("network as JSON").fill("{")
    page.get_by_role("button", name="Use this JSON").click()
    lab.expect("document.querySelector('.aigym-builder').innerText.includes('This is no JSON')")
    page.get_by_label("begin with").select_option("wide")
    lab.expect("document.querySelector('.aigym-builder .aigym-heading').innerText === '67,843 parameters'")
    assert "dense 256 relu" in (page.locator("img.aigym-network").get_attribute("alt") or "")
    for theme in ("Dark", "Light"):
        lab.theme(f"JupyterLab {theme}")
        lab.shot(f"builder-{theme.lower()}", ".aigym-builder")

    page.evaluate(
        "(async () => { const w = window.jupyterapp.shell.currentWidget;"
        " w.content.activeCellIndex = 1; await window.jupyterapp.commands.execute('notebook:run-cell'); })()"
    )
    lab.expect("document.body.innerText.includes(\"'units': 256, 'activation': 'relu'}]} dqn\")")
