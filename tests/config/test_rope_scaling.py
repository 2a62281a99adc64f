from llmguide.config.rope_scaling import LongRopeScaling


def test_factors_given_as_lists_equal_those_given_as_tuples():
    from_json, written = LongRopeScaling([1.0], [2.0], 4, 1.0), LongRopeScaling((1.0,), (2.0,), 4, 1.0)
    assert from_json == written
    assert hash(from_json) == hash(written)
