"""Uniform draws."""

from wire import Codes, generator, serve


class Random:
    """Learns nothing."""

    def __init__(self, task):
        self.codes, self.rng = Codes(task), generator(task)

    def start(self, trials):
        pass

    def tell(self, trials):
        pass

    def ask(self, count):
        return [(None, self.codes.draw(self.rng)) for _ in range(count)]


if __name__ == "__main__":
    serve(Random)
