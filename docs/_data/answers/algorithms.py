"""Answers to exercises of algorithms, as a reader would write them; the tests grade each."""

from math import inf


def first_true(low, high, test):
    while low < high:
        middle = (low + high) // 2
        if test(middle):
            high = middle
        else:
            low = middle + 1
    return low


def count_inversions(items):
    def ordered(items):
        if len(items) < 2:
            return items, 0
        middle = len(items) // 2
        left, in_left = ordered(items[:middle])
        right, in_right = ordered(items[middle:])
        merged, count = [], in_left + in_right
        i = j = 0
        while i < len(left) and j < len(right):
            if right[j] < left[i]:
                merged.append(right[j])
                j += 1
                count += len(left) - i
            else:
                merged.append(left[i])
                i += 1
        return merged + left[i:] + right[j:], count

    return ordered(items)[1]


def is_search_tree(tree, low=-inf, high=inf):
    if tree is None:
        return True
    left, item, right = tree
    return low < item < high and is_search_tree(left, low, item) and is_search_tree(right, item, high)
