"""Binary trees: traversals, search trees, common ancestors, balance, and serialization.

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

    >>> list(in_order(build([1, 2, 3, 4]))), height(build([1, 2, 3, 4]))
    ([1, 2, 3, 4], 3)
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


def pre_order(tree: Tree | None) -> Iterator[int]:
    """Traverse node, left, right (pre-order): parents before children, as for copying. O(n) steps.

    >>> list(pre_order(Tree(2, Tree(1), Tree(3))))
    [2, 1, 3]
    """
    stack = [tree]
    while stack:
        node = stack.pop()
        if node is not None:
            yield node.item
            stack += [node.right, node.left]


def post_order(tree: Tree | None) -> Iterator[int]:
    """Traverse left, right, node (post-order): children before parents, as for deleting. O(n) steps.

    Idea: it is the reverse of node, right, left.

    >>> list(post_order(Tree(2, Tree(1), Tree(3))))
    [1, 3, 2]
    """
    stack, backwards = [tree], []
    while stack:
        node = stack.pop()
        if node is not None:
            backwards.append(node.item)
            stack += [node.left, node.right]
    return reversed(backwards)


def levels(tree: Tree | None) -> list[list[int]]:
    """Return the items level by level. O(n) steps.

    >>> levels(Tree(2, Tree(1), Tree(3)))
    [[2], [1, 3]]
    """
    found = []
    level = [] if tree is None else [tree]
    while level:
        found.append([node.item for node in level])
        level = [child for node in level for child in (node.left, node.right) if child is not None]
    return found


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


def insert(tree: Tree | None, item: int) -> Tree:
    """Add an item to a search tree if it is new; return the root. O(h) steps.

    >>> list(in_order(insert(build([1, 3]), 2)))
    [1, 2, 3]
    """
    if tree is None:
        return Tree(item)
    node = tree
    while item != node.item:
        child = node.left if item < node.item else node.right
        if child is None:
            child = Tree(item)
            if item < node.item:
                node.left = child
            else:
                node.right = child
        node = child
    return tree


def search(tree: Tree | None, item: int) -> bool:
    """Return whether a search tree contains an item. O(h) steps, so O(log n) if it is balanced.

    >>> search(build([1, 2, 3]), 2), search(build([1, 2, 3]), 4)
    (True, False)
    """
    while tree is not None and tree.item != item:
        tree = tree.left if item < tree.item else tree.right
    return tree is not None


def lowest_common_ancestor(tree: Tree | None, a: int, b: int) -> Tree | None:
    """Return the lowest node that has both items in its subtree; the tree must contain each once.

    Idea: each subtree returns the ancestor, or the one of the two items that it contains. If both do, this
    node is the ancestor. O(n) steps.

    >>> lowest_common_ancestor(build([1, 2, 3, 4, 5]), 1, 2).item
    2
    """
    if tree is None or tree.item in (a, b):
        return tree
    left = lowest_common_ancestor(tree.left, a, b)
    right = lowest_common_ancestor(tree.right, a, b)
    return tree if left is not None and right is not None else left if left is not None else right


def height(tree: Tree | None) -> int:
    """Return the number of levels. O(n) steps.

    >>> height(None), height(Tree(1)), height(Tree(1, Tree(2)))
    (0, 1, 2)
    """
    return 0 if tree is None else 1 + max(height(tree.left), height(tree.right))


def is_balanced(tree: Tree | None) -> bool:
    """Return whether the heights of the two subtrees of every node differ by at most one.

    Idea: one traversal returns heights, or None for "already unbalanced"; calling `height` at every node
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


def deserialize(text: str) -> Tree | None:
    """Read a tree that `serialize` wrote. O(n) steps.

    >>> serialize(deserialize("1 . 2 . ."))
    '1 . 2 . .'
    """
    words = iter(text.split())

    def read() -> Tree | None:
        word = next(words)
        return None if word == "." else Tree(int(word), read(), read())

    return read()
