"""How many threads a kind of step gets, decided by costs as they were measured (SmolLM2-135M Q8_0, two CPUs)."""

from __future__ import annotations

from collections.abc import Callable

from llama_cpp._core import Pace

SECOND = 1_000_000

# Microseconds of a step by its number of threads, and CPUs that the threads lost to others meanwhile.
Costs = Callable[[int], tuple[float, float]]


def quiet(n: int) -> tuple[float, float]:
    return 6_100 + 5_900 / n, 0.01


def two_busy(n: int) -> tuple[float, float]:
    return (14_600, 0.35) if n == 1 else (2_900_000, 1.0)


def one_busy(n: int) -> tuple[float, float]:
    return (12_100, 0.03) if n == 1 else (95_000, 0.55)


def many_cpus(others: int, cpus: int = 16) -> Costs:
    """Costs where each of the others keeps one of many CPUs busy: all wait for the one thread that shares its own."""

    def costs(n: int) -> tuple[float, float]:
        shared = max(0, n + others - cpus)
        return (100_000 / n * (1 if shared == 0 else 2), 0.5 * shared)

    return costs


class Machine:
    """A clock that runs while steps are computed."""

    def __init__(self, most: int) -> None:
        self.pace = Pace(most)
        self.now = 0
        self.steps: list[int] = []

    def run(self, seconds: float, costs: Costs) -> float:
        """Compute for some time; return the share that was computed of what the best number would have."""
        end = self.now + seconds * SECOND
        begin, self.steps = self.now, []
        while self.now < end:
            wall, lost = costs(self.pace.n)
            self.steps.append(self.pace.n)
            self.now += int(wall)
            self.pace.add(self.now, int(wall), 1.0, int(lost * wall))
        best = min(costs(n)[0] for n in range(1, self.pace.most + 1))
        return len(self.steps) * best / (self.now - begin)


def test_a_quiet_machine_is_left_alone() -> None:
    machine = Machine(2)
    machine.run(60, quiet)
    assert set(machine.steps) == {2}


def test_the_first_step_beside_busy_processes_is_the_only_slow_one() -> None:
    machine = Machine(2)
    machine.run(60, two_busy)
    assert machine.steps.count(2) == 1
    assert machine.steps[0] == 2


def test_threads_come_back_when_the_others_go() -> None:
    machine = Machine(2)
    machine.run(30, two_busy)
    machine.run(1, quiet)
    assert machine.pace.n == 2
    assert machine.run(30, quiet) > 0.99


def test_what_did_not_pay_is_tried_ever_more_seldom() -> None:
    machine = Machine(2)
    machine.run(20, one_busy)
    assert machine.run(60, one_busy) > 0.97
    assert 4 <= machine.steps.count(2) <= 12  # every 8 seconds


def test_of_many_threads_only_those_without_a_cpu_are_given_up() -> None:
    for others in (0, 1, 3, 8, 15):
        machine = Machine(16)
        machine.run(10, many_cpus(others))
        assert machine.pace.n in (16 - others, 16), others
        assert machine.run(20, many_cpus(others)) > 0.95, others
        machine.run(10, many_cpus(0))
        assert machine.pace.n == 16, others


def test_fewer_threads_that_are_no_faster_are_given_up() -> None:
    """The threads lose CPU time, for a quota say, and are still worth having."""

    def costs(n: int) -> tuple[float, float]:
        return 12_000 / n, 0.3 if n == 2 else 0.0

    machine = Machine(2)
    machine.run(10, costs)
    assert machine.pace.n == 2
    assert machine.run(60, costs) > 0.98


def test_steps_that_were_not_measured_change_nothing() -> None:
    pace = Pace(4)
    for now in range(100):
        pace.add(now * SECOND, SECOND, 1.0)
    assert pace.n == 4


def test_a_step_that_was_held_up_is_judged_at_once() -> None:
    pace = Pace(2)
    pace.add(60_000, 60_000, 10.0, 600)
    pace.add(90_000, 30_000, 1.0, 30_000, stopped=True)
    assert pace.n == 1


def test_work_makes_steps_of_different_sizes_comparable() -> None:
    """A trial of fewer threads that happens to get larger batches is not blamed for their size."""
    pace = Pace(2)
    pace.add(100_000, 100_000, 10.0, 100_000)
    assert pace.n == 1
    pace.add(500_000, 400_000, 80.0, 120_000)
    assert pace.n == 1  # half the cost for each unit
