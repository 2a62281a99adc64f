"""Graphs: breadth-first and depth-first search, topological order, cycles, islands.

A graph is a dict from each node to its neighbors, with V nodes and E edges.
"""

from collections import deque
from collections.abc import Mapping, Sequence

Graph = Mapping[int, Sequence[int]]


def bfs(graph: Graph, start: int) -> dict[int, int]:
    """Return the number of edges from a start to each reachable node, nearest first (breadth-first search).

    Idea: a queue returns nodes in the order of their distance. Invariant: the queue holds nodes of at most
    two distances, d then d + 1. Nodes are marked when they are added, or they would be added twice. O(V + E)
    steps.

    >>> bfs({0: [1, 2], 1: [3], 2: [3], 3: [], 4: [0]}, 0)
    {0: 0, 1: 1, 2: 1, 3: 2}
    """
    distance = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for neighbor in graph[node]:
            if neighbor not in distance:
                distance[neighbor] = distance[node] + 1
                queue.append(neighbor)
    return distance


def dfs(graph: Graph, start: int) -> list[int]:
    """Return the reachable nodes in depth-first order.

    It uses a stack instead of recursion, which Python limits to a depth of 1000. O(V + E) steps.

    >>> dfs({0: [1, 2], 1: [3], 2: [3], 3: []}, 0)
    [0, 1, 3, 2]
    """
    seen: dict[int, None] = {}
    stack = [start]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            stack += reversed(graph[node])
    return list(seen)


def topological_order(graph: Graph) -> list[int] | None:
    """Return all nodes in an order in which edges point forward, None if there is a cycle (Kahn 1962).

    Invariant: the ready nodes are those without an edge from a node that is not in the order yet. O(V + E)
    steps.

    >>> topological_order({0: [1, 2], 1: [3], 2: [3], 3: []}), topological_order({0: [1], 1: [0]})
    ([0, 1, 2, 3], None)
    """
    missing = dict.fromkeys(graph, 0)
    for neighbors in graph.values():
        for node in neighbors:
            missing[node] += 1
    order = [node for node, count in missing.items() if not count]
    for node in order:  # grows while it is read
        for neighbor in graph[node]:
            missing[neighbor] -= 1
            if not missing[neighbor]:
                order.append(neighbor)
    return order if len(order) == len(graph) else None


def has_cycle(graph: Graph) -> bool:
    """Return whether a directed graph has a cycle.

    Idea: depth-first search reaches a node that it has not left yet. O(V + E) steps.

    >>> has_cycle({0: [1], 1: [2], 2: [0]}), has_cycle({0: [1, 2], 1: [2], 2: []})
    (True, False)
    """
    left: set[int] = set()
    for start in graph:
        path: dict[int, None] = {}
        stack = [] if start in left else [(start, iter(graph[start]))]
        if stack:
            path[start] = None
        while stack:
            node, neighbors = stack[-1]
            for neighbor in neighbors:
                if neighbor in path:
                    return True
                if neighbor not in left:
                    path[neighbor] = None
                    stack.append((neighbor, iter(graph[neighbor])))
                    break
            else:
                stack.pop()
                del path[node]
                left.add(node)
    return False


def count_islands(grid: Sequence[str]) -> int:
    """Count the groups of ``#`` that touch along a side.

    Idea: a grid is a graph with implicit edges; each unvisited ``#`` starts a search that marks its group.
    O(rows · columns) steps.

    >>> count_islands(["##.", "..#", "#.#"])
    3
    """
    unseen = {(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == "#"}
    islands = 0
    while unseen:
        islands += 1
        stack = [unseen.pop()]
        while stack:
            r, c = stack.pop()
            for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if near in unseen:
                    unseen.remove(near)
                    stack.append(near)
    return islands
