"""Linked lists, and two pointers that traverse them at different speeds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(eq=False)
class Link:
    """A node of a linked list: an item and the next link."""

    item: int
    next: "Link | None" = None

    def __iter__(self) -> Iterator[int]:
        link: Link | None = self
        while link is not None:
            yield link.item
            link = link.next


def linked(items: Iterable[int]) -> Link | None:
    """Build a linked list; None is the empty one.

    >>> list(linked([1, 2, 3])), linked([])
    ([1, 2, 3], None)
    """
    head: Link | None = None
    for item in reversed(list(items)):
        head = Link(item, head)
    return head


def reverse(head: Link | None) -> Link | None:
    """Reverse a list in place.

    Invariant: ``done`` is the reversed part, ``head`` the rest. O(n) steps, O(1) memory.

    >>> list(reverse(linked([1, 2, 3])))
    [3, 2, 1]
    """
    done: Link | None = None
    while head is not None:
        head.next, done, head = done, head, head.next
    return done


def middle(head: Link | None) -> Link | None:
    """Return the middle link, the second of two.

    Idea: when the fast pointer, which moves two links per step, is at the end, the slow one is halfway. O(n)
    steps, O(1) memory.

    >>> middle(linked([1, 2, 3])).item, middle(linked([1, 2, 3, 4])).item
    (2, 3)
    """
    slow = fast = head
    while slow is not None and fast is not None and fast.next is not None:
        slow, fast = slow.next, fast.next.next
    return slow


def is_happy(number: int) -> bool:
    """Return whether repeatedly summing the squares of the digits leads to 1.

    Idea: numbers and their successors form a linked list that ends in a cycle; 1 is a cycle of its own.

    >>> is_happy(19), is_happy(2)  # 19, 82, 68, 100, 1
    (True, False)
    """

    def successor(value: int) -> int:
        return sum(int(digit) ** 2 for digit in str(value))

    slow, fast = number, successor(number)
    while slow != fast:
        slow, fast = successor(slow), successor(successor(fast))
    return slow == 1
