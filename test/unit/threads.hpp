// Threads that start together.
#pragma once

#include <latch>
#include <thread>
#include <vector>

namespace pgcache::engine::test {

constexpr int kThreads = 4;

template <typename Body>
void in_threads(Body body) {
  std::latch start(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&body, &start, thread] {
      start.arrive_and_wait();
      body(thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace pgcache::engine::test
