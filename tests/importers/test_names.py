import pytest

from tvm_tiny.importers.names import MAX_LENGTH, Namer, identifier


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1", "conv1"),
        ("model/conv 1:0", "model_conv_1_0"),
        ("a/Relu;a/bn;a/conv", "a_Relu"),
        ("", "tensor"),
        ("///", "tensor"),
        ("123", "t123"),
        ("int", "int_"),
        ("lambda", "lambda_"),
        ('x"; system("rm");', "x"),
        ("größe", "gr_e"),
        ("x" * 70000, "x" * MAX_LENGTH),
    ],
)
def test_identifiers(name: str, expected: str) -> None:
    assert identifier(name) == expected
    assert identifier(name).isidentifier()


def test_each_name_is_handed_out_once() -> None:
    namer = Namer()
    names = [namer(name) for name in ("a.b", "a/b", "A_b", "a_b_1")]
    assert names == ["a_b", "a_b_1", "A_b_2", "a_b_1_1"]
