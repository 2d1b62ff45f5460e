"""The simulated world itself: order, line, repeatability."""

from world import Server, World, percentile


def test_what_is_due_at_the_same_time_happens_in_the_order_it_was_asked_for() -> None:
    world, seen = World(), []
    world.at(2.0, seen.append, "later")
    world.at(1.0, seen.append, "first")
    world.at(1.0, lambda: (seen.append("second"), world.after(0.0, seen.append, "third")))
    world.run()
    assert seen == ["first", "second", "third", "later"]
    assert world.now == 2.0


def test_a_run_stops_at_its_end_and_can_go_on() -> None:
    world, seen = World(), []
    world.every(1.0, lambda: seen.append(world.now), until=3.0)
    world.run(until=2.5)
    assert (seen, world.now) == ([1.0, 2.0], 2.5)
    world.run()
    assert seen == [1.0, 2.0, 3.0]


def test_requests_beyond_the_slots_of_a_server_wait_in_line() -> None:
    world, answered = World(), []
    server = Server(world, lambda: 1.0, slots=2)
    for name in "abc":
        server.ask(lambda ok, name=name: answered.append((name, world.now, ok)))
    world.run()
    assert answered == [("a", 1.0, True), ("b", 1.0, True), ("c", 2.0, True)]
    assert (server.busy, server.served) == (0, 3)


def test_the_same_seed_gives_the_same_arrivals_and_their_number_is_about_the_rate() -> None:
    def run(seed: int) -> list[float]:
        world, seen = World(seed), []
        world.arrivals(1_000.0, lambda: seen.append(world.now), until=10.0)
        world.run()
        return seen

    assert run(1) == run(1) != run(2)
    assert abs(len(run(1)) - 10_000) < 4 * 100


def test_a_percentile_is_a_value_that_was_there() -> None:
    assert [percentile([5, 1, 4, 2, 3], percent) for percent in (0, 20, 21, 50, 99, 100)] == [1, 1, 2, 3, 5, 5]
