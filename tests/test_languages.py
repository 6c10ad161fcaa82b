"""Every language in every sandbox: what runs, what does not compile, what the limits say."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from typing import get_args

import pytest
from conftest import missing

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes import LANGUAGES, Execution, Limits, check, execute, languages_in, open_sandbox
from aigym_kernel.sandboxes.languages import COMPILE
from aigym_kernel.sandboxes.pool import Pool
from aigym_kernel.tasks.fields import LanguageName

# What the command line is asked for in the project's own checks of sandboxes, with more time.
SMALL = Limits(wall_s=60, memory_mb=128, pids=32, disk_mb=32, output_kb=1024)
NEEDED = {"python", "bash", "javascript", "c", "cpp"}
SANDBOXES = ["bwrap", pytest.param("docker", marks=pytest.mark.docker)]

HELLO = {
    "python": "print('hello')",
    "bash": "echo hello",
    "javascript": "console.log('hello')",
    "c": '#include <stdio.h>\nint main(void) { puts("hello"); }',
    "cpp": '#include <iostream>\nint main() { std::cout << "hello\\n"; }',
    "java": 'public class Main { public static void main(String[] a) { System.out.println("hello"); } }',
    "go": 'package main\nimport "fmt"\nfunc main() { fmt.Println("hello") }',
    "rust": 'fn main() { println!("hello"); }',
    "r": "cat('hello\\n')",
}
SUM_OF_TWO_TO_EXIT_CODE_3 = {
    "python": "import sys\nprint(sum(map(int, input().split())))\nsys.exit(3)",
    "bash": "read a b; echo $((a + b)); exit 3",
    "javascript": """
        const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number)
        console.log(a + b); process.exitCode = 3""",
    "c": """#include <stdio.h>
        int main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); return 3; }""",
    "cpp": """#include <iostream>
        int main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; return 3; }""",
    "java": """import java.util.Scanner;
        public class Main { public static void main(String[] args) {
            Scanner in = new Scanner(System.in);
            System.out.println(in.nextInt() + in.nextInt());
            System.exit(3);
        } }""",
    "go": """package main
        import ("fmt"; "os")
        func main() { var a, b int; fmt.Scan(&a, &b); fmt.Println(a + b); os.Exit(3) }""",
    "rust": """fn main() {
        let mut line = String::new(); std::io::stdin().read_line(&mut line).unwrap();
        println!("{}", line.split_whitespace().map(|w| w.parse::<i32>().unwrap()).sum::<i32>());
        std::process::exit(3) }""",
    "r": "cat(sum(scan(file('stdin'), quiet = TRUE)), '\\n', sep = ''); quit(status = 3)",
}
FAILS = {
    "python": "[][3]",
    "bash": "set -e\nno-such-program",
    "javascript": "undefined.x",
    "c": "int main(void) { volatile int *p = 0; return *p; }",
    "cpp": "#include <vector>\nint main() { return std::vector<int>{}.at(3); }",
    "java": "public class Main { public static void main(String[] a) { System.out.println(a[3]); } }",
    "go": "package main\nfunc main() { var a []int; println(a[3]) }",
    "rust": 'fn main() { let a: Vec<i32> = vec![]; println!("{}", a[3]); }',
    "r": "stop('no')",
}
MEMORY_BOMB = {
    "python": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "bash": "x=0123456789; while :; do x=$x$x; done",
    "javascript": "const x = []; for (;;) x.push(new Array(100000).fill(1.5))",
    "c": """#include <stdlib.h>
        #include <string.h>
        int main(void) { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }""",
    "cpp": "#include <vector>\nint main() { std::vector<double> x; for (;;) x.push_back(1); }",
    "java": """import java.util.*;
        public class Main { public static void main(String[] a) {
            List<int[]> x = new ArrayList<>(); for (;;) x.add(new int[100000]); } }""",
    "go": """package main
        func main() {
            var x [][]byte
            for { b := make([]byte, 1<<20); for i := range b { b[i] = 1 }; x = append(x, b) }
        }""",
    "rust": "fn main() { let mut x = vec![]; loop { x.push(vec![1u8; 1 << 20]); } }",
    "r": "x <- list(); repeat x[[length(x) + 1]] <- as.numeric(1:100000)",
}
MORE_THAN_THERE_IS = {
    "python": "x = bytearray(1 << 45)",
    "javascript": "const x = []; for (;;) x.push(Buffer.alloc(1 << 26, 1))",
    "cpp": "#include <vector>\nint main() { std::vector<char> x(1ull << 46); return x[5]; }",
    "java": """public class Main { public static void main(String[] a) {
        long[][] x = new long[1 << 20][1 << 20]; } }""",
    "rust": 'fn main() { let x = vec![1u8; 1 << 46]; println!("{}", x[7]); }',
    "r": "x <- numeric(2^45)",
}
ENDLESS = {
    "python": "while True: pass",
    "bash": "while :; do :; done",
    "javascript": "for (;;) {}",
    "c": "int main(void) { for (volatile int i = 0;; i++) {} }",
    "cpp": "int main() { for (volatile int i = 0;; i = i + 1) {} }",
    "java": "public class Main { public static void main(String[] a) { for (;;) {} } }",
    "go": "package main\nfunc main() { for {} }",
    "rust": "fn main() { loop {} }",
    "r": "repeat {}",
}
DOES_NOT_COMPILE = {
    "c": ("int main(void) { return x; }", "main.c:1"),
    "cpp": ("#include <no_such_header>\nint main() {}", "main.cpp:1"),
    "java": ("public class Main { int x = y; }", "Main.java:1"),
    "go": ("package main\nfunc main() { x }", "main.go:2"),
    "rust": ("fn main() { x }", "main.rs:1"),
}
COMPILE_BOMBS = {
    "endless file": ("c", '#include "/dev/zero"\nint main(void) {}'),
    "huge array": ("c", "char a[1u << 30] = {1};\nint main(void) { return a[5]; }"),
    "does not fit": ("c", "char a[40 << 20] = {1};\nint main(void) { return a[5]; }"),
    "includes itself": ("cpp", "#include __FILE__\n#include __FILE__\nint main() {}"),
}
MANY_ERRORS = "int main(void) {\n" + "".join(f"x{i}++;\n" for i in range(1000)) + "}\n"
ENDLESS_TEMPLATE = """
template <int N, int M> struct A { static constexpr int v = A<N - 1, 2 * M>::v + A<N - 1, 2 * M + 1>::v; };
template <int M> struct A<0, M> { static constexpr int v = M; };
int main() { return A<24, 0>::v; }
"""


@lru_cache
def _problem(sandbox: str, language: str) -> str:
    """Why a language cannot be tried, or nothing."""
    if sandbox == "bwrap" and sys.platform != "linux":
        return "bubblewrap needs Linux"
    if problem := check(sandbox):
        return problem
    try:
        execute(HELLO[language], language, sandbox=sandbox)
    except SandboxError as error:
        return str(error)
    return ""


def ran(code: str, language: str, sandbox: str, limits: Limits = SMALL, stdin: str = "") -> Execution:
    if problem := _problem(sandbox, language):
        if language in NEEDED:
            missing(f"{language} in {sandbox}: {problem}")
        pytest.skip(problem)
    return execute(code, language, stdin=stdin, limits=limits, sandbox=sandbox)


def each(programs: dict[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("language", "code"), programs.items(), ids=programs)


pytestmark = pytest.mark.parametrize("sandbox", SANDBOXES)


@each(HELLO)
def test_hello_world_within_128_mib(sandbox: str, language: str, code: str) -> None:
    done = ran(code, language, sandbox)
    assert (done.status, done.exit_code, done.stdout, done.stderr) == ("ok", 0, "hello\n", "")


@each(SUM_OF_TWO_TO_EXIT_CODE_3)
def test_stdin_and_exit_code(sandbox: str, language: str, code: str) -> None:
    done = ran(code, language, sandbox, stdin="20 22\n")
    assert (done.status, done.exit_code, done.stdout) == ("error", 3, "42\n"), done.stderr


@each(FAILS)
def test_a_program_that_fails(sandbox: str, language: str, code: str) -> None:
    done = ran(code, language, sandbox)
    assert done.status == ("signal" if language in ("c", "cpp") else "error")
    assert language == "c" or done.stderr


@each(MEMORY_BOMB)
def test_a_memory_bomb(sandbox: str, language: str, code: str) -> None:
    done = ran(code, language, sandbox, SMALL)
    assert done.status == "memory_limit", done
    assert "128" in done.detail


@each(MORE_THAN_THERE_IS)
def test_asking_for_more_memory_than_there_is(sandbox: str, language: str, code: str) -> None:
    done = ran(code, language, sandbox, SMALL)
    assert done.status == "memory_limit", done


@each(ENDLESS)
def test_an_endless_loop(sandbox: str, language: str, code: str) -> None:
    assert ran(code, language, sandbox, replace(SMALL, wall_s=0.5)).status == "timeout"


@pytest.mark.parametrize("language", DOES_NOT_COMPILE)
def test_what_does_not_compile_says_where(sandbox: str, language: str) -> None:
    code, where = DOES_NOT_COMPILE[language]
    done = ran(code, language, sandbox)
    assert (done.status, done.exit_code, done.stdout) == ("compile_error", None, "")
    assert where in done.stderr
    assert (done.wall_s, done.cpu_s) == (0, 0)


@pytest.mark.parametrize("name", COMPILE_BOMBS)
def test_a_compile_bomb_is_a_compile_error(sandbox: str, name: str) -> None:
    language, code = COMPILE_BOMBS[name]
    done = ran(code, language, sandbox)
    assert done.status == "compile_error", done
    assert done.detail or done.stderr


def test_a_compiler_that_is_stopped_is_a_compile_error_too(
    sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limits in (("cpp", replace(COMPILE, wall_s=1)), ("c", replace(COMPILE, output_kb=4))):
        monkeypatch.setitem(LANGUAGES, name, replace(LANGUAGES[name], limits=limits))
    done = ran(ENDLESS_TEMPLATE, "cpp", sandbox)
    assert (done.status, done.detail) == (
        "compile_error",
        "the compiler was stopped: still running after 1 s",
    )
    done = ran(MANY_ERRORS, "c", sandbox)
    assert done.status == "compile_error"
    assert 3000 < len(done.stderr) <= 4096
    assert "more than 4 KiB" in done.detail


def test_limits_of_a_program_do_not_bind_its_compiler(sandbox: str) -> None:
    for wall_s in (0.3, 1, 5, 60):  # a busy machine may take longer to begin
        limits = Limits(wall_s=wall_s, cpu_s=0.2, memory_mb=8, disk_mb=1, pids=2, output_kb=1)
        done = ran(HELLO["cpp"], "cpp", sandbox, limits)
        if done.status != "timeout":
            break
    assert done.stdout == "hello\n", done


def test_the_time_of_a_program_does_not_count_its_compiler(sandbox: str) -> None:
    done = ran(HELLO["cpp"], "cpp", sandbox)
    assert 0 < done.cpu_s < 0.2, "its compiler takes a second"


def test_a_compiler_sees_the_files_beside_the_program(sandbox: str) -> None:
    if problem := _problem(sandbox, "c"):
        missing(problem)
    code = '#include "lib/add.h"\nint main(void) { return add(20, 22); }'
    header = "static int add(int a, int b) { return a + b; }"
    done = execute(code, "c", files={"lib/add.h": header}, sandbox=sandbox)
    assert (done.status, done.exit_code) == ("error", 42)


def test_nothing_handed_in_takes_the_place_of_what_is_compiled(sandbox: str) -> None:
    if problem := _problem(sandbox, "c"):
        missing(problem)
    for path in (".program/main", "./.program/main", ".program"):
        done = execute(HELLO["c"], "c", files={path: "#!/bin/sh\necho no"}, sandbox=sandbox)
        assert (done.status, done.stdout) == ("compile_error", "")
        assert "leave it out" in done.detail


def test_exit_code_127_is_the_programs_own(sandbox: str) -> None:
    """Neither a program that ends like a missing interpreter nor one that says so is taken for one."""
    for language in ("javascript", "bash"):
        code = {
            "javascript": "console.error(\"cannot run 'node': not found\"); process.exit(127)",
            "bash": "echo \"cannot run 'bash': not found\" >&2; exit 127",
        }[language]
        done = ran(code, language, sandbox)
        assert (done.status, done.exit_code) == ("error", 127)


def test_a_missing_language_names_what_brings_it(sandbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := check(sandbox):
        missing(problem)
    for row in (
        replace(LANGUAGES["javascript"], name="x", run=("no-such-node", "{file}"), package="no-such-package"),
        replace(LANGUAGES["c"], name="x", compile=("env", "A=b", "no-such-node"), package="no-such-package"),
    ):
        monkeypatch.setitem(LANGUAGES, "x", row)
        with pytest.raises(SandboxError, match=r"x needs 'no-such-node'.*apt-get install no-such-package"):
            execute("", "x", sandbox=sandbox)


def test_a_row_is_all_that_a_language_takes(sandbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := check(sandbox):
        missing(problem)
    row = replace(LANGUAGES["bash"], name="sed", file="main.sed", run=("sed", "-f", "{file}"))
    monkeypatch.setitem(LANGUAGES, "sed", row)
    done = execute("s/a/b/", "sed", stdin="a line\n", sandbox=sandbox)
    assert done.stdout == "b line\n"


def test_the_names_of_languages(sandbox: str) -> None:
    assert set(LANGUAGES) == set(get_args(LanguageName)) == set(HELLO)
    with pytest.raises(UnknownName, match=r"'pyhton'.*'python'"):
        execute("", "pyhton", sandbox=sandbox)


def test_which_languages_are_there(sandbox: str) -> None:
    if problem := check(sandbox):
        missing(problem)
    found = languages_in(open_sandbox(sandbox))
    assert {"python", "bash"} <= set(found) <= set(LANGUAGES)
    assert found == [name for name in LANGUAGES if not _problem(sandbox, name)]


@pytest.mark.parametrize("language", ["javascript", "c"])
def test_warm_boxes_run_the_same(sandbox: str, language: str) -> None:
    ran(HELLO[language], language, sandbox)
    with Pool(sandbox) as pool:
        assert execute(HELLO[language], language, limits=SMALL, sandbox=pool).stdout == "hello\n"
        done = execute(MEMORY_BOMB[language], language, limits=SMALL, sandbox=pool)
        assert done.status == "memory_limit", done
        if language in DOES_NOT_COMPILE:
            done = execute(DOES_NOT_COMPILE[language][0], language, sandbox=pool)
            assert done.status == "compile_error", done
