import threading

from core import ids


def test_ids_of_one_process_sort_by_their_making_even_within_a_millisecond() -> None:
    made = [ids.new("job") for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_share_an_id() -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(ids.new("run") for _ in range(500)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4_000


def test_an_id_is_its_prefix_and_26_characters_that_a_url_takes() -> None:
    made = ids.new("tch")
    assert made.startswith("tch_")
    assert len(made) == 30
    assert set(made[4:]) <= set("0123456789abcdefghjkmnpqrstvwxyz")
