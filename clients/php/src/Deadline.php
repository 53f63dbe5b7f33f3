<?php

declare(strict_types=1);

namespace Relay;

/**
 * A moment after which nobody waits any more. Unlike a timeout, it covers a whole call, of however
 * many reads and writes that consists.
 */
final class Deadline
{
    /** Nanoseconds of a clock that nobody sets; null is never. */
    private function __construct(private readonly ?int $at)
    {
    }

    /**
     * So many seconds from now; null is never.
     */
    public static function in(?float $seconds): self
    {
        // What is longer than a century is never, and must not overflow.
        if ($seconds === null || $seconds > 3.0e9) {
            return new self(null);
        }
        return new self(hrtime(true) + (int) (max(0.0, $seconds) * 1e9));
    }

    /**
     * The seconds that are left, at least 0; null is for ever.
     */
    public function left(): ?float
    {
        return $this->at === null ? null : max(0, $this->at - hrtime(true)) / 1e9;
    }

    public function isOver(): bool
    {
        return $this->at !== null && hrtime(true) >= $this->at;
    }
}
