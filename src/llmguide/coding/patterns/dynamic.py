"""Dynamic programming: solve each subproblem once, and build the answer from the results.

Two properties are needed: optimal substructure (the best answer consists of best answers to subproblems), and
overlapping subproblems. Each function describes its table; the loops run in an order in which every entry is
computed before it is used.
"""

from collections.abc import Sequence


def coin_change(coins: Sequence[int], amount: int) -> int | None:
    """Return the least number of coins that make an amount, None if none do.

    Table: ``least[a]`` coins for a. The last coin is one of them: ``least[a] = 1 + min least[a - coin]``.
    Greedy fails if a large coin excludes a better pair. O(amount · coins) steps.

    >>> coin_change([1, 3, 4], 6), coin_change([2], 3), coin_change([2], 0)  # greedy takes 4 + 1 + 1
    (2, None, 0)
    """
    least: list[int | None] = [0]
    for a in range(1, amount + 1):
        best = None
        for coin in coins:
            before = least[a - coin] if 0 < coin <= a else None
            if before is not None and (best is None or before + 1 < best):
                best = before + 1
        least.append(best)
    return least[amount]


def longest_common_subsequence(a: str, b: str) -> str:
    """Return a longest common subsequence: characters that both texts contain in order, with gaps.

    Table: ``length[i][j]`` for a[i:] and b[j:]. If the first characters agree, both are taken; else one of
    them is dropped. Tracing back through the table gives the text. O(len(a) · len(b)) steps and memory.

    >>> longest_common_subsequence("stone", "longest")
    'one'
    """
    length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            if a[i] == b[j]:
                length[i][j] = 1 + length[i + 1][j + 1]
            else:
                length[i][j] = max(length[i + 1][j], length[i][j + 1])
    i = j = 0
    letters: list[str] = []
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            letters.append(a[i])
            i, j = i + 1, j + 1
        elif length[i + 1][j] >= length[i][j + 1]:
            i += 1
        else:
            j += 1
    return "".join(letters)


def edit_distance(a: str, b: str) -> int:
    """Return how many characters must be inserted, deleted or replaced to turn one text into the other.

    Table: ``row[j]`` for the characters of a so far and b[:j]; one row is enough, because each depends only
    on the previous one. O(len(a) · len(b)) steps, O(len(b)) memory (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting"), edit_distance("", "abc")
    (3, 3)
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def knapsack(items: Sequence[tuple[int, int]], capacity: int) -> int:
    """Return the greatest value of (weight, value) items, each taken once or not, within a capacity.

    Table: ``best[c]`` value within capacity c, of the items so far. Capacities run downwards, so that an
    item is not taken twice. O(items · capacity) steps: that grows with the value of the capacity, not with
    its number of digits (pseudo-polynomial), so the problem is still NP-hard.

    >>> knapsack([(3, 4), (4, 5), (2, 3)], 6), knapsack([], 5)
    (8, 0)
    """
    best = [0] * (capacity + 1)
    for weight, value in items:
        for c in range(capacity, weight - 1, -1):
            best[c] = max(best[c], best[c - weight] + value)
    return best[capacity]


def longest_palindrome(text: str) -> str:
    """Return the first longest palindromic substring.

    Idea: a palindrome without its two ends is a palindrome, so expand each of the 2n - 1 centers while the
    ends agree; no table of all substrings is needed. O(n^2) steps, O(1) memory.

    >>> longest_palindrome("forgeeksskeegfor"), longest_palindrome("ab"), longest_palindrome("")
    ('geeksskeeg', 'a', '')
    """
    start = length = 0
    for center in range(2 * len(text) - 1):
        low, high = center // 2, (center + 1) // 2
        while low >= 0 and high < len(text) and text[low] == text[high]:
            low, high = low - 1, high + 1
        if high - low - 1 > length:
            start, length = low + 1, high - low - 1
    return text[start : start + length]


def fibonacci_naive(n: int) -> int:
    """Return the n-th Fibonacci number from its definition, which solves the same subproblems repeatedly.

    The number of calls grows like the numbers themselves, as 1.618^n; dynamic programming avoids that.

    >>> [fibonacci_naive(n) for n in range(8)]
    [0, 1, 1, 2, 3, 5, 8, 13]
    """
    return n if n < 2 else fibonacci_naive(n - 1) + fibonacci_naive(n - 2)


def fibonacci(n: int) -> int:
    """Return the n-th Fibonacci number from the previous two. O(n) steps.

    >>> fibonacci(50)
    12586269025
    """
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
