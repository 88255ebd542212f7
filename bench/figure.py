"""A figure of lines over time, as SVG: no more than that needs."""
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 95
COLOURS = ('#c0392b', '#2471a3', '#7d8c3f')
STEPS = (1, 2, 5, 10, 20, 50, 100)


@dataclass
class Line:
    name: str
    points: list               # runs of (x, y): a gap between two runs is shown as one
    marks: tuple = ()          # (x, text) each


def step_for(most, ticks):
    return next((step for step in STEPS if most / step <= ticks), most)


class Figure:
    def __init__(self, title, x_title, y_title, lines):
        self.lines, self.title, self.x_title, self.y_title = lines, title, x_title, y_title
        everything = [point for line in lines for run in line.points for point in run]
        self.x_most = max([x for x, _ in everything] + [x for line in lines for x, _ in line.marks])
        self.y_most = max(y for _, y in everything) * 1.1
        self.out = []

    def x(self, value):
        return LEFT + value / self.x_most * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return HEIGHT - BOTTOM - value / self.y_most * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, words, more=''):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>')

    def rule(self, x1, y1, x2, y2, colour, more=''):
        self.out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>')

    def grid(self):
        bottom = self.y(0)
        step = step_for(self.y_most, 8)
        for value in range(0, int(self.y_most) + 1, step):
            self.rule(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), '#ddd')
            self.text(LEFT - 8, self.y(value) + 4, f'{value}', 'text-anchor="end"')
        step = step_for(self.x_most, 14)
        for value in range(0, int(self.x_most) + 1, step):
            self.rule(self.x(value), bottom, self.x(value), bottom + 5, '#444')
            self.text(self.x(value), bottom + 19, f'{value}', 'text-anchor="middle"')
        self.text(LEFT, TOP - 30, self.title, 'font-weight="bold"')
        self.text(LEFT, TOP - 10, self.y_title)
        self.text(WIDTH - RIGHT, bottom + 36, self.x_title, 'text-anchor="end"')

    def draw(self, number, line):
        colour = COLOURS[number]
        for run in line.points:
            points = ' '.join(f'{self.x(x):.1f},{self.y(y):.1f}' for x, y in run)
            self.out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        for x, words in line.marks:
            self.rule(self.x(x), TOP, self.x(x), self.y(0), colour, 'stroke-dasharray="5 4"')
            self.text(self.x(x) - 6, TOP + 12, words, f'fill="{colour}" text-anchor="end"')
        y = HEIGHT - 42 + 16 * number
        self.rule(LEFT, y - 4, LEFT + 26, y - 4, colour, 'stroke-width="3"')
        self.text(LEFT + 34, y, line.name)

    def svg(self):
        self.grid()
        for number, line in enumerate(self.lines):
            self.draw(number, line)
        return '\n'.join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                          'font-family="sans-serif" font-size="12">',
                          f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *self.out, '</svg>', ''])
