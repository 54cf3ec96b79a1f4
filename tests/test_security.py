"""What SECURITY.md promises of the source, held by reading it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.settings import S3Settings, Settings
from tests.test_layout import ROOT
from worker.attempt import WITHHELD

# Whatever reads these formats runs what they say.
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN = {
    *("eval", "exec", "compile", "os.system", "os.popen"),
    *("torch.load", "torch.save", "torch.hub.load", "pandas.read_pickle", "pd.read_pickle"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
}
UNPACKING = {"extract", "extractall", "unpack_archive"}  # a member of a fixed name may be opened
NO_ARCHIVES = {"func.extract", "_propagator.extract"}  # a part of a date; a trace out of headers
SQL = {"text", "execute", "executemany", "exec_driver_sql", "scalar", "scalars", "SQL"}


PACKAGES = ("jobs", "app", "worker", "cli", "migrations")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def faults(source: str) -> Iterator[str]:
    """What in a module breaks a promise."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{name} is imported" for name in names if name.partition(".")[0] in PICKLES)
        if isinstance(node, ast.Call):
            yield from _faults_of_call(node, tree)


def _faults_of_call(node: ast.Call, tree: ast.Module) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in FORBIDDEN:
        yield f"{name} is called"
    if isinstance(node.func, ast.Attribute) and node.func.attr in UNPACKING and name not in NO_ARCHIVES:
        yield f"{name} unpacks an archive"
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for argument, wanted in (("trust_remote_code", "False"), ("allow_pickle", "False"), ("weights_only", "True")):
        if argument in given and ast.unparse(given[argument]) != wanted:
            yield f"{argument} is not {wanted}"
    for argument, refused in (("shell", "True"), ("verify", "False")):
        if argument in given and ast.unparse(given[argument]) == refused:
            yield f"{argument} is {refused}"
    if name == "yaml.load" and ast.unparse(given.get("Loader", node)) not in _safe_loaders(tree):
        yield "yaml.load may make any object"
    if name.rpartition(".")[2] in SQL and node.args and not _is_fixed(node.args[0]):
        yield f"{name} is given a statement that is put together: {ast.unparse(node.args[0])}"


def _safe_loaders(tree: ast.Module) -> set[str]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {each.name for each in classes if [ast.unparse(base) for base in each.bases] == ["yaml.SafeLoader"]}


def _is_fixed(statement: ast.expr) -> bool:
    """Whether nothing that changes is written into the statement; a constant of the module may be."""
    match statement:
        case ast.JoinedStr(values=parts):
            inserted = [part.value for part in parts if isinstance(part, ast.FormattedValue)]
            return all(isinstance(each, ast.Name) and each.id.isupper() for each in inserted)
        case ast.BinOp(left=left, op=ast.Mod() | ast.Add(), right=right):
            return not any(
                isinstance(each, ast.Constant | ast.JoinedStr) and isinstance(getattr(each, "value", ""), str)
                for each in (left, right)
            )
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="format" | "join")):
            return False
        case _:
            return True


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_source_keeps_what_is_promised(path: Path) -> None:
    assert list(faults(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path, weights_only=True)",
        "eval(text)",
        "os.system('ls')",
        "subprocess.run(command, shell=True)",
        "httpx2.get(url, verify=False)",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "AutoModel.from_pretrained(folder, trust_remote_code=wanted)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "archive.extractall()",
        "archive.extract(name, folder)",
        "session.execute(text(f'SELECT {name}'))",
        "session.execute('SELECT %s' % name)",
        "session.execute('SELECT ' + name)",
        "session.execute('SELECT {}'.format(name))",
        "connection.exec_driver_sql(f'DROP TABLE {table}')",
    ],
)
def test_a_broken_promise_is_found(line: str) -> None:
    assert list(faults(line))


def test_models_and_tokenizers_are_read_without_their_code() -> None:
    found = [
        f"{path.name}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith("Auto")
        and ast.unparse(node.func).endswith(".from_pretrained")
        and "trust_remote_code" not in {keyword.arg for keyword in node.keywords}
    ]
    assert found == []


def test_secrets_come_from_the_environment_alone() -> None:
    secrets = {name: field for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert {"api_key", "database_url", "broker_url", "s3_secret_key"} <= set(secrets)
    for name, field in secrets.items():
        assert not isinstance(field.default, SecretStr), name
        assert field.is_required() or not field.default, name


def test_the_engine_is_told_no_secret_but_those_of_the_storage_it_reads() -> None:
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert {f"PRUNERY_{name.upper()}" for name in secrets - set(S3Settings.model_fields)} <= WITHHELD
