<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * The other side said what no relay says, and the connection was ended for it.
 */
final class ProtocolError extends ConnectionLost
{
    public function __construct(
        string $message,
        /** The code of the Close frame that tells the other side. */
        public readonly int $answer = 1002,
    ) {
        parent::__construct($message);
    }
}
