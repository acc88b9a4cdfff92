from multiprocessing.context import ForkContext

context: ForkContext
