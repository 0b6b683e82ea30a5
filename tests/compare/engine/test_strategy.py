import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerando.compare.strategy import DEFAULTS, parse
from accelerando.errors import SpecError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("adam", "adam"),
        (" adam + cosine ", "adam+cosine"),
        ("timm.optim:Lamb( weight_decay=0.01 )+cosine", "timm.optim:Lamb(weight_decay=0.01)+cosine"),
        ("adam(lr=1e+1)+cyclic(cycles=2)", "adam(lr=10.0)+cyclic(cycles=2)"),
        ("adam(eps=1e-6,betas=(.9, .99))", "adam(betas=(0.9, 0.99), eps=1e-06)"),
        ("x.y:Z.w(text='a+b)')", "x.y:Z.w(text='a+b)')"),
        ("adam(lr=-1)", "adam(lr=-1)"),
    ],
)
def test_has_one_way_of_being_written(text, name):
    assert parse(text).name == name
    assert parse(name) == parse(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a name is missing"),
        ("adam+", "a name is missing"),
        ("adam++cosine", "a name is missing"),
        ("adam(0.1)", "options are keywords"),
        ("adam(lr=)", "cannot read the options"),
        ("adam(lr=0.1", "cannot read the options"),
        ("adam(lr=0.1)junk", "cannot read the options"),
        ("adam(lr=1, lr=2)", "given twice"),
        ("adam(lr=1e999)", "must be a Python literal"),
        ("adam(**{'lr': 1})", r"\*\* is not read"),
        ("adam(lr=__import__('os').getcwd())", "must be a Python literal"),
        ("adam(lr=open('x', 'w'))", "must be a Python literal"),
        ("../evil", "names no optimizer"),
        ("adam+a.b", "names no schedule"),
        ("adam(lr=1)(lr=2)", "options are keywords"),
    ],
)
def test_refuses_with_the_place_and_the_way_out(text, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=complaint):
        parse(text)
    assert not list(tmp_path.iterdir())


@given(st.text(alphabet="adam+cosine:.()=,'\"[]{} 019e-_*\\", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        strategy = parse(text)
    except SpecError:
        return
    assert parse(strategy.name).name == strategy.name


def test_the_defaults_are_the_nine_and_two_more():
    assert [parse(text).name for text in DEFAULTS] == list(DEFAULTS)
    assert len(DEFAULTS) == 11
