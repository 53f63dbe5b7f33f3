<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * This cannot be a message, and was not sent: no JSON object, too long, not UTF-8, ...
 */
final class InvalidMessage extends \InvalidArgumentException implements RelayException
{
}
