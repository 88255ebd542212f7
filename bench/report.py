"""Rounds of samples in, Markdown and JSON out."""
import statistics


def shown(value, unit):
    if unit == 'IOPS':
        return f'{value / 1000:.1f} k'
    if unit == 'MiB/s':
        return f'{value / (1 << 20):.0f} MiB/s'
    if unit == 'calls':
        return f'{value:.0f} {unit}'
    return f'{value:.2f} {unit}'


class Ratio:
    """Of two sides, paired round by round: the median and how far the rounds lie apart."""

    def __init__(self, above, below):
        pairs = sorted(a / b for a, b in zip(above, below) if b)
        self.median = statistics.median(pairs) if pairs else float('nan')
        self.low, self.high = (pairs[0], pairs[-1]) if pairs else (float('nan'),) * 2

    def __str__(self):
        return f'{self.median:.2f} ({self.low:.2f}…{self.high:.2f})'


class Row:
    def __init__(self, job, rounds):
        """rounds: list of dicts side -> Sample; 'raw again' is the second run of the raw side."""
        self.job, self.rounds = job, rounds
        rates = lambda side: [r[side].rate for r in rounds]
        cpu = lambda side: [r[side].cpu_us for r in rounds]
        self.figures = {side: statistics.median(rates(side)) for side in job.sides}
        self.ratios = {side: Ratio(rates('ours'), rates(side)) for side in job.sides if side != 'ours'}
        self.noise = Ratio(rates('raw again'), rates('raw')) if 'raw' in job.sides else None
        self.cpu = {side: statistics.median(cpu(side)) for side in job.sides if all(c is not None for c in cpu(side))}
        self.beside = {text: Ratio(rates(above), rates(below)) for text, (above, below) in job.beside.items()}
        noted = {text: [sample.notes[text] for r in rounds for sample in r.values() if text in sample.notes]
                 for text in dict.fromkeys(text for sample in rounds[0].values() for text in sample.notes)}
        self.notes = {text: (statistics.median(values), min(values), max(values)) for text, values in noted.items()}
        peer = self.peer()
        self.cpu_ratio = Ratio(cpu('ours'), cpu(peer)) if peer in self.cpu and 'ours' in self.cpu else None

    def peer(self):
        return next((side for side in self.job.sides if side not in ('ours', 'raw')), None)

    def goals(self):
        """(text, reached) for each bound of the job."""
        for side, bound in self.job.at_least.items():
            yield f'≥ {bound} × {side}', self.ratios[side].median >= bound
        for what, bound in self.job.at_most.items():
            if what == 'figure':
                yield f'≤ {bound} {self.job.unit}', self.figures['ours'] <= bound
            elif what == 'cpu':
                yield f'CPU ≤ {bound} × {self.peer()}', self.cpu_ratio is not None and self.cpu_ratio.median <= bound
            elif what in self.notes:
                yield f'{what}: ≤ {bound}', self.notes[what][0] <= bound
            else:
                yield f'≤ {bound} × {what}', self.ratios[what].median <= bound

    def markdown(self):
        peer = self.peer()
        figure = lambda side: shown(self.figures[side], self.job.unit) if side in self.figures else '–'
        ratio = lambda side: str(self.ratios[side]) if side in self.ratios else '–'
        cpu = ' / '.join(f'{self.cpu[s]:.1f}' for s in ('ours', peer) if s in self.cpu) or '–'
        if self.cpu_ratio:
            cpu += f' = {self.cpu_ratio}'
        goals = ', '.join(text + (' ✓' if reached else ' ✗') for text, reached in self.goals())
        return (f'| {self.job.title} | {figure("ours")} | {figure("raw")} '
                f'| {figure(peer)}{f" ({peer})" if peer else ""} | {ratio("raw")} | {ratio(peer)} '
                f'| {self.noise or "–"} | {cpu} | {goals} |')

    def json(self):
        return {'job': self.job.name, 'unit': self.job.unit,
                'rounds': [{side: vars(sample) for side, sample in r.items()} for r in self.rounds],
                'goals': [{'goal': text, 'reached': reached} for text, reached in self.goals()]}


HEAD = ('| job | ours | raw | peer | ours / raw | ours / peer | raw / raw | CPU µs per I/O, ours / peer | goal |\n'
        '|---|---|---|---|---|---|---|---|---|')


def markdown(rows, machine):
    lines = [machine, '', HEAD, *(row.markdown() for row in rows)]
    for row in rows:
        lines += [f'\n{row.job.name}: {text}: {ratio}' for text, ratio in row.beside.items()]
        lines += [f'\n{row.job.name}: {text}: {median:.2f} ({low:.2f}…{high:.2f})'
                  for text, (median, low, high) in row.notes.items()]
    return '\n'.join(lines)
