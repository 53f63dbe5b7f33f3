<?php

declare(strict_types=1);

namespace Relay\Exception;

/**
 * Whatever this package throws.
 */
interface RelayException extends \Throwable
{
}
