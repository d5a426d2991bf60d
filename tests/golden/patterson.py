"""The table of src/numerics/patterson.rs, as JSON on standard output: nested Gauss rules of 3, 7, ... 511 nodes.

Each step finds the polynomial E whose zeros extend the n nodes of G to 2n + 1: int G E P_k = 0 for every k <= n.
Needs mpmath 1.3.0; takes five minutes.
"""

import json
import sys

import mpmath as mp

DIGITS = 400
mp.mp.dps = DIGITS


def legendre(degree, x):
    """P_0 ... P_degree at x."""
    values = [mp.mpf(1), x]
    for k in range(1, degree):
        values.append(((2 * k + 1) * x * values[k] - k * values[k - 1]) / (k + 1))
    return values


def gauss(n):
    """The nodes >= 0 of the n-point Gauss-Legendre rule and their weights."""
    nodes, weights = [], []
    for i in range((n + 1) // 2):
        x = mp.cos(mp.pi * (i + mp.mpf(3) / 4) / (n + mp.mpf(1) / 2))
        for _ in range(60):
            values = legendre(n, x)
            slope = n * (x * values[n] - values[n - 1]) / (x * x - 1)
            step = values[n] / slope
            x -= step
            if abs(step) < mp.mpf(10) ** (10 - DIGITS):
                break
        nodes.append(x)
        weights.append(2 / ((1 - x * x) * slope * slope))
    return nodes, weights


def product(x, nodes):
    """x * prod (x^2 - node^2)."""
    value = x
    for node in nodes[1:]:
        value *= x * x - node * node
    return value


def interpolatory(nodes):
    """The weight of every node: the integral of its Lagrange polynomial (the two of a pair together, halved)."""
    points, weights = gauss(len(nodes) // 2 * 2 + 2)
    values = [product(x, nodes) for x in points]
    result = []
    for j, node in enumerate(nodes):
        slope = mp.mpf(1) if j == 0 else 2 * node * node
        for i, other in enumerate(nodes[1:], 1):
            if i != j:
                slope *= node * node - other * other
        terms = zip(points, weights, values)
        result.append(sum(w * (g / (x - node) + g / (x + node)) / slope for x, w, g in terms))
    return result


def extend(nodes):
    """The nodes >= 0 that the next rule adds."""
    n = 2 * len(nodes) - 1
    degree, half = n + 1, (n + 1) // 2
    rows = [[mp.mpf(0)] * (half + 1) for _ in range(half)]
    for x, weight in zip(*gauss((n + 2 * degree) // 2 + 2)):
        if x < mp.mpf(10) ** -300:
            continue
        values = legendre(degree, x)
        weight *= product(x, nodes) * mp.mpf(4) ** (n // 2)
        for a, row in enumerate(rows):
            factor = weight * values[2 * a + 1]
            for b in range(half + 1):
                row[b] += factor * values[2 * b]
    matrix = mp.matrix([row[:half] for row in rows])
    right = mp.matrix([-row[half] for row in rows])
    coefficients = list(mp.lu_solve(matrix, right)) + [mp.mpf(1)]

    def polynomial(x):
        values = legendre(degree, x)
        return sum(c * values[2 * i] for i, c in enumerate(coefficients))

    added = []
    borders = sorted(nodes) + [mp.mpf(1)]
    for low, high in zip(borders, borders[1:]):
        assert polynomial(low) * polynomial(high) < 0
        mp.mp.dps = 60
        near = mp.findroot(polynomial, (low, high), solver="anderson", tol=mp.mpf(10) ** -100, maxsteps=300, verify=False)
        mp.mp.dps = DIGITS
        start = (near, near * (1 + mp.mpf(10) ** -45))
        added.append(mp.findroot(polynomial, start, solver="secant", tol=mp.mpf(10) ** -700, maxsteps=30, verify=False))
    return added


def main():
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 511
    nodes = [mp.mpf(0), mp.sqrt(mp.mpf(3) / 5)]
    weights = [interpolatory(nodes)]
    while 2 * len(nodes) - 1 < largest:
        nodes += extend(nodes)
        weights.append(interpolatory(nodes))
    json.dump({"nodes": [float(x) for x in nodes], "weights": [[float(w) for w in rule] for rule in weights]}, sys.stdout)


main()
