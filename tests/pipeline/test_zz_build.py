def test_builds(built):
    assert built
