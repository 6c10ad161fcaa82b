"""The reward designer in a real JupyterLab: mouse, keyboard, a game that is watched, what Python gets."""

from __future__ import annotations

from labs import BROWSER, Lab

pytestmark = BROWSER

DESIGN = (
    "import aigym_kernel as aigym\n"
    "designer = aigym.reward_designer('aigym/Snake-v0', games=4, env_kwargs={'size': 6})\ndesigner"
)
COLOURED = """
(() => {
  const canvas = document.querySelector(".aigym-rewards canvas");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.some((value, i) => i % 4 < 3 && value > 40);
})()
"""
SHOW = "print('designed:', designer.rewards)"


def test_rewards_are_designed_by_mouse_and_by_keyboard(lab: Lab) -> None:
    lab.open("rewards.ipynb", DESIGN, SHOW)
    lab.wait(".aigym-rewards .aigym-worths")
    page, keyboard, cells = lab.page, lab.page.keyboard, lab.cells()

    def expect_text(text: str) -> None:
        lab.expect(f"document.querySelector('.aigym-rewards').innerText.includes({text!r})")

    # The board has its colours before anything is touched: black is none of them.
    lab.expect(COLOURED)

    # By event: a number, a slider by keys; none of these reaches the notebook.
    page.get_by_label("apple", exact=True).fill("4")
    expect_text("4.0 * apple")
    page.get_by_label("closer, slider").focus()
    for key in ("ArrowRight", "ArrowRight", "b", "x"):
        keyboard.press(key)
    expect_text("0.2 * closer")
    page.get_by_label("wall", exact=True).fill("-3")
    expect_text('"wall": -3')
    page.get_by_label("wall", exact=True).fill("")
    lab.expect("!document.querySelector('.aigym-rewards .aigym-code').innerText.includes('wall')")

    lab.shot("rewards-by-event", ".aigym-rewards")

    # A game is watched, and stepped by keys.
    page.get_by_role("button", name="Play").click()
    shown = "document.querySelector('.aigym-rewards').innerText"
    button = "document.querySelector('.aigym-rewards .aigym-start')"
    pause = f"{button}.innerText != 'Pause' || ({button}.click(), true)"  # it may have ended by itself
    lab.expect(f"Number(/step ([0-9]+) of/.exec({shown})[1]) > 2 && ({pause})")
    lab.expect(f"{button}.innerText != 'Pause'")
    page.get_by_label("step of the game").focus()
    keyboard.press("End")
    keyboard.press("ArrowLeft")
    lab.expect(f"/step ([0-9]+) of /.test({shown}) && !/step ([0-9]+) of \\1/.test({shown})")
    expect_text("return so far")
    page.get_by_label("game", exact=True).select_option("1")
    expect_text("step 0 of")

    # By formula: what cannot be is told, what can be counts.
    page.get_by_label("rewards by").select_option("formula")
    page.get_by_label("formula", exact=True).fill("3*aple<img src=x onerror='window.pwned=1'>")
    expect_text("cannot be read")
    page.get_by_label("formula", exact=True).fill("3*aple")
    expect_text("Did you mean")
    page.get_by_label("formula", exact=True).fill("3*apple - 2*(wall or self)")
    expect_text("-(2 * (wall or self))")
    assert page.evaluate("window.pwned") is None
    assert lab.cells() == cells
    for theme in ("Dark", "Light"):
        lab.theme(f"JupyterLab {theme}")
        lab.shot(f"rewards-{theme.lower()}", ".aigym-rewards")
    page.evaluate(
        "(async () => { const w = window.jupyterapp.shell.currentWidget;"
        " w.content.activeCellIndex = 1; await window.jupyterapp.commands.execute('notebook:run-cell'); })()"
    )
    lab.expect("document.body.innerText.includes('designed: 3*apple - 2*(wall or self)')")
