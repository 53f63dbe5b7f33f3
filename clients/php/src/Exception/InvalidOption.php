<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * A URL or an option that means nothing.
 */
final class InvalidOption extends \InvalidArgumentException implements RelayException
{
}
