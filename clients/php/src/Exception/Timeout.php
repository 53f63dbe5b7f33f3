<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * The relay is there and did not answer in time. The message may have been taken or not. The
 * connection is given up, because a late answer would be taken for that of the next message.
 */
final class Timeout extends \RuntimeException implements RelayException
{
}
