import os

import torch


def test_the_tests_and_what_they_start_run_on_the_number_of_threads_in_the_environment():
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
