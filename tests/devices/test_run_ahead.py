from ipixmatch_jax.devices.run_ahead import RunAhead


def test_the_host_waits_for_all_but_the_last_two(monkeypatch):
    waited = []
    monkeypatch.setattr("ipixmatch_jax.devices.run_ahead.jax.block_until_ready", waited.append)
    ahead = RunAhead()
    for step in range(5):
        ahead(step)
        assert waited == list(range(step - 1))
