"""Binary trees: traversal, search trees, balance, and serialization.

n nodes, h levels: h is log2(n + 1) in a full tree and n in a chain. Recursion follows the tree and needs O(h)
memory; Python allows about 1000 levels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(eq=False)
class Tree:
    """A node of a binary tree; None is the empty tree."""

    item: int
    left: "Tree | None" = None
    right: "Tree | None" = None


def build(items: Sequence[int]) -> Tree | None:
    """Build a balanced tree with this in-order traversal: a search tree if the items are sorted.

    O(n log n) steps, because of the copied slices.

    >>> list(in_order(build([1, 2, 3, 4])))
    [1, 2, 3, 4]
    """
    if not items:
        return None
    half = len(items) // 2
    return Tree(items[half], build(items[:half]), build(items[half + 1 :]))


def in_order(tree: Tree | None) -> Iterator[int]:
    """Traverse left, node, right (in-order): a search tree yields sorted items.

    Invariant: the stack holds the nodes whose left subtree has been entered and that have not been yielded.
    O(n) steps.

    >>> list(in_order(Tree(2, Tree(1), Tree(3))))
    [1, 2, 3]
    """
    stack: list[Tree] = []
    while stack or tree is not None:
        while tree is not None:
            stack.append(tree)
            tree = tree.left
        node = stack.pop()
        yield node.item
        tree = node.right


def is_search_tree(tree: Tree | None) -> bool:
    """Return whether every node is larger than all items on its left and smaller than all on its right.

    A common mistake is to compare nodes with their children only. Here the in-order traversal must be sorted.
    O(n) steps.

    >>> is_search_tree(Tree(2, Tree(1), Tree(3))), is_search_tree(Tree(5, Tree(1, None, Tree(6)), Tree(7)))
    (True, False)
    """
    before = None
    for item in in_order(tree):
        if before is not None and item <= before:
            return False
        before = item
    return True


def search(tree: Tree | None, item: int) -> bool:
    """Return whether a search tree contains an item. O(h) steps, so O(log n) if it is balanced.

    >>> search(build([1, 2, 3]), 2), search(build([1, 2, 3]), 4)
    (True, False)
    """
    while tree is not None and tree.item != item:
        tree = tree.left if item < tree.item else tree.right
    return tree is not None


def is_balanced(tree: Tree | None) -> bool:
    """Return whether the heights of the two subtrees of every node differ by at most one.

    Idea: one traversal returns heights, or None for "already unbalanced"; measuring the height of every node
    would take O(n h). O(n) steps.

    >>> is_balanced(Tree(1, Tree(2))), is_balanced(Tree(1, Tree(2, Tree(3))))
    (True, False)
    """

    def balanced_height(node: Tree | None) -> int | None:
        if node is None:
            return 0
        left = balanced_height(node.left)
        right = None if left is None else balanced_height(node.right)
        if left is None or right is None or abs(left - right) > 1:
            return None
        return 1 + max(left, right)

    return balanced_height(tree) is not None


def serialize(tree: Tree | None) -> str:
    """Serialize a tree: its pre-order traversal, with ``.`` for the empty tree. O(n) steps.

    Without the dots, a traversal does not determine a tree.

    >>> serialize(Tree(1, None, Tree(2)))
    '1 . 2 . .'
    """
    words: list[str] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        words.append("." if node is None else str(node.item))
        if node is not None:
            stack += [node.right, node.left]
    return " ".join(words)
