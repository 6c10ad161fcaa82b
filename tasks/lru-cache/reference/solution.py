from collections import OrderedDict


class LRUCache:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held: OrderedDict = OrderedDict()

    def get(self, key):
        if key not in self.held:
            return None
        self.held.move_to_end(key)
        return self.held[key]

    def put(self, key, value):
        self.held[key] = value
        self.held.move_to_end(key)
        if len(self.held) > self.capacity:
            return self.held.popitem(last=False)[0]
        return None

    def delete(self, key):
        if key not in self.held:
            return False
        del self.held[key]
        return True

    def resize(self, capacity: int):
        self.capacity = capacity
        forgotten = []
        while len(self.held) > capacity:
            forgotten.append(self.held.popitem(last=False)[0])
        return forgotten

    def items(self):
        return [[key, value] for key, value in self.held.items()]
